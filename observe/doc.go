// Package observe is what the processes of imageport tell those who run them:
// structured logs, metrics for Prometheus, and traces by OpenTelemetry.
//
// Logs are always on; metrics and traces are off until they are configured, and
// a nil *Telemetry does nothing at all. Labels have few values, which nobody
// outside can add to: a Compositing Engine (CE) chooses none of them. Nothing
// here fails a job, waits for a collector, or sees a credential.
//
// A CE has no way out but the gateway, and so sends no metrics and no traces of
// its own. The worker sees its tasks go by on the one connection to Temporal,
// and measures them there.
package observe
