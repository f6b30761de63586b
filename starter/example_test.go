package starter_test

import (
	"context"
	"encoding/json"
	"fmt"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"

	"imageport/job"
	"imageport/starter"
)

// The Temporal client is found by the environment and the profile file, as by
// all of its programs.
func Example() {
	c, err := client.Dial(envconfig.MustLoadDefaultClientOptions())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	jobs := starter.New(c)
	body := json.RawMessage(`{
		"platform": "vSphere", "platformCredentialId": "vcenter", "resourceLocationId": "5f3b",
		"vCenterHost": "vcenter.example.com", "datacenter": "DC", "datastore": "ds1", "network": "VM Network", "cluster": "C1",
		"inputStorageLocation": {"host": "files.example.com", "sharePath": "pvs/store", "credentialId": "files"},
		"inputImageFilename": "win10", "outputImageFilename": "win10-uefi"
	}`)
	started, err := jobs.Start(context.Background(), job.OpConvertToUEFI, body, starter.RequestID("change-4711"))
	if job.CodeOf(err) == job.AlreadyRunning {
		fmt.Println("somebody else is at it")
		return
	}
	if err != nil {
		fmt.Println(err) // with what to do about it
		return
	}
	result, err := jobs.Result(context.Background(), started.RunID)
	if err != nil {
		fmt.Println(job.CodeOf(err), err)
		return
	}
	fmt.Println(result.Output)
}
