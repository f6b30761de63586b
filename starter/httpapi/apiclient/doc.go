// Package apiclient is a client of the HTTP API as oapi-codegen makes it of the
// OpenAPI document (in version 3.0.3): what others get who generate theirs. The
// tests of the document use it. Go programs want package starter.
//
// client.gen.go is written anew by
//
//	IMAGEPORT_GENERATE=1 go test ./starter/httpapi/apiclient -run TestGenerated
package apiclient
