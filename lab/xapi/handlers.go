package xapi

// handlers are the messages that need more than access.
var handlers map[string]handler

// init, because some handlers carry out others.
func init() {
	handlers = map[string]handler{
		"session.login_with_password": {do: (*call).login},
		"session.logout":              {do: logout},
		"task.create":                 {do: createTask},
		"task.destroy":                {do: destroyTask},
		"task.cancel":                 {do: cancelTask},
		"host.get_servertime":         {do: serverTime},
		"host.compute_free_memory":    {do: freeMemory},
		"SR.scan":                     {do: nothing},

		"VM.create":                  {do: createVM},
		"VM.destroy":                 {do: destroyVM, operation: "destroy"},
		"VM.clone":                   {do: cloneVM, operation: "clone", cancellable: true},
		"VM.copy":                    {do: copyVMTo, operation: "copy", cancellable: true},
		"VM.provision":               {do: provisionVM, operation: "provision"},
		"VM.start":                   {do: startVM, operation: "start", cancellable: true},
		"VM.start_on":                {do: startVM, operation: "start_on", cancellable: true},
		"VM.hard_shutdown":           {do: stopVM, operation: "hard_shutdown"},
		"VM.shutdown":                {do: stopVM, operation: "shutdown"},
		"VM.clean_shutdown":          {do: cleanShutdown, operation: "clean_shutdown"},
		"VM.set_is_a_template":       {do: setTemplate},
		"VM.set_memory_limits":       {do: setMemoryLimits, operation: "changing_memory_limits"},
		"VM.set_VCPUs_max":           {do: setVCPUs, operation: "changing_VCPUs"},
		"VM.set_VCPUs_at_startup":    {do: setVCPUs, operation: "changing_VCPUs"},
		"VM.set_HVM_boot_policy":     {do: setBootPolicy},
		"VM.set_domain_type":         {do: setHalted},
		"VM.set_actions_after_crash": {do: assign},
		"VM.get_allowed_VBD_devices": {do: freeDevices("VBD", "userdevice", maxDevices)},
		"VM.get_allowed_VIF_devices": {do: freeDevices("VIF", "device", maxCards)},

		"VBD.create":       {do: createVBD},
		"VBD.destroy":      {do: destroyVBD},
		"VBD.plug":         {do: plugVBD, operation: "plug"},
		"VBD.unplug":       {do: unplugVBD, operation: "unplug"},
		"VBD.unplug_force": {do: unplugVBD, operation: "unplug_force"},
		"VBD.set_mode":     {do: setMode},

		"VDI.create":               {do: createVDI},
		"VDI.destroy":              {do: destroyVDI, operation: "destroy"},
		"VDI.clone":                {do: cloneVDI, operation: "clone", cancellable: true},
		"VDI.copy":                 {do: copyVDITo, operation: "copy", cancellable: true},
		"VDI.resize":               {do: resizeVDI, operation: "resize"},
		"VDI.set_name_label":       {do: assign},
		"VDI.set_name_description": {do: assign},
		"VDI.set_sharable":         {do: assign},
		"VDI.set_read_only":        {do: assign},

		"VIF.create":  {do: createVIF},
		"VIF.destroy": {do: destroyVIF},
	}
}

// nothing implements what there is nothing to do for.
func nothing(*call) (any, error) { return "", nil }

// serverTime implements host.get_servertime.
func serverTime(c *call) (any, error) { return stamp(c.p.cfg.Now()), nil }

// freeMemory implements host.compute_free_memory.
func freeMemory(c *call) (any, error) { return c.p.freeMemory(c.text(0)), nil }
