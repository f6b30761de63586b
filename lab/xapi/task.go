package xapi

// complete ends a task. One that was cancelled already stays that, whatever
// became of its work.
func (p *Pool) complete(task string, result any, err error) {
	delete(p.cancels, task)
	delete(p.landing, task)
	o := p.get("task", task)
	if o == nil {
		return
	}
	_, destroyed := o.dict("current_operations")["destroy"]
	if destroyed {
		delete(p.objects["task"], task)
		return
	}
	o["allowed_operations"] = []string{}
	if o["status"] != "pending" {
		return
	}
	o["finished"], o["progress"] = stamp(p.cfg.Now()), 1.0
	f, failed := err.(*failure)
	switch {
	case err == nil:
		o["status"] = "success"
		// The result is what XML-RPC would have been sent.
		if s, ok := result.(string); ok && s != "" {
			o["result"] = "<value>" + s + "</value>"
		}
		return
	case !failed:
		f = internal("%v", err)
	}
	o["status"] = "failure"
	if f.code == "TASK_CANCELLED" {
		o["status"] = "cancelled"
	}
	o["error_info"] = append([]string{f.code}, f.params...)
}

// createTask implements task.create: a task that a client has for an import.
func createTask(c *call) (any, error) {
	task := c.p.insert("task", record{
		"name_label": c.params[0], "name_description": c.params[1], "status": "pending", "session": c.session,
		"created": stamp(c.p.cfg.Now()), "resident_on": c.p.coordinator,
	})
	c.p.cancels[task] = make(chan struct{})
	return task, nil
}

// destroyTask implements task.destroy. One that is not done goes when it is.
func destroyTask(c *call) (any, error) {
	_, runs := c.p.landing[c.text(0)]
	if runs && c.self()["status"] == "pending" {
		c.self().dict("current_operations")["destroy"] = "destroy"
		return "", nil
	}
	delete(c.p.objects["task"], c.text(0))
	delete(c.p.cancels, c.text(0))
	return "", nil
}

// cancelTask implements task.cancel, which is a wish: what cannot be cancelled
// goes on, and so does what LandCancelled names.
func cancelTask(c *call) (any, error) {
	task := c.text(0)
	o := c.self()
	if o["status"] != "pending" {
		return "", nil
	}
	method, runs := c.p.landing[task]
	if runs && !handlers[method].cancellable {
		return "", nil
	}
	if runs && c.p.lands[method] {
		o["status"], o["progress"], o["finished"] = "cancelled", 1.0, stamp(c.p.cfg.Now())
		o["error_info"], o["allowed_operations"] = []string{"TASK_CANCELLED", task}, []string{}
		return "", nil
	}
	if cancel := c.p.cancels[task]; cancel != nil {
		close(cancel)
		delete(c.p.cancels, task)
	}
	return "", nil
}
