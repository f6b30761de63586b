package pid1

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// reportFD is where the agent finds the pipe to the first process.
const reportFD = 3

// maxReport bounds a line of the pipe.
const maxReport = 16 << 10

// report is what the agent tells the first process, a JSON object a line.
type report struct {
	// Deadline is said once, when the seed is read: from then on the machine
	// may run so long.
	Deadline time.Time `json:"deadline,omitzero"`
	// Working is said when the work begins.
	Working bool `json:"working,omitempty"`
	// Cause is said last, if the agent gives up.
	Cause string `json:"cause,omitempty"`
}

// ErrNotInCE says that this is not the machine that the program is for.
var ErrNotInCE = errors.New("this is for the inside of a Compositing Engine, as a child of its first process")

// reports opens the pipe to the first process. It refuses to go on anywhere
// else: what follows loads drivers and changes addresses.
func reports() (*os.File, error) {
	first, err := os.Stat("/proc/1/exe")
	if err != nil {
		return nil, ErrNotInCE
	}
	self, err := os.Stat("/proc/self/exe")
	if err != nil || !os.SameFile(first, self) || os.Getppid() != 1 {
		return nil, ErrNotInCE
	}
	var stat unix.Stat_t
	if err := unix.Fstat(reportFD, &stat); err != nil || stat.Mode&unix.S_IFMT != unix.S_IFIFO {
		return nil, ErrNotInCE
	}
	unix.CloseOnExec(reportFD) // it is not the business of the agent's children
	return os.NewFile(reportFD, "report"), nil
}

func (r report) send(w io.Writer) error {
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if _, err := w.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// receive gives the reports one by one until the pipe ends. What is no report
// is left out.
func receive(r io.Reader, take func(report)) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxReport)
	for lines.Scan() {
		var got report
		if json.Unmarshal(lines.Bytes(), &got) == nil {
			take(got)
		}
	}
}
