package chaos

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// process is a host in a process of its own, which can be stopped and killed.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended and its notes are read
}

func startProcess(t testing.TB, id identity, tell func(note)) *process {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(id)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{exec.Command(program), make(chan struct{})}
	p.cmd.Env = append(os.Environ(), hostVar+"="+string(text))
	p.cmd.Stderr = os.Stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var n note
			if json.Unmarshal(lines.Bytes(), &n) == nil { // else it was killed while it wrote
				tell(n)
			}
		}
		_ = p.cmd.Wait() // it is killed
	}()
	return p
}

// freeze is what a hypervisor does to its guest, or a user with SIGSTOP.
func (p *process) freeze() { _ = p.cmd.Process.Signal(syscall.SIGSTOP) }
func (p *process) thaw()   { _ = p.cmd.Process.Signal(syscall.SIGCONT) }

// kill ends it at once, as a power failure does.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it fails if it has ended
	<-p.done
}
