package localstack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"syscall"
	"time"
)

const (
	// maxLogBytes bounds a server's log file: it is begun anew by the next
	// start once it has grown past this.
	maxLogBytes = 16 << 20
	// logTailBytes is how much of a server's log an error quotes.
	logTailBytes = 2 << 10
	// reapLimit is how long a killed process may take to be gone. Only a process
	// stuck in the kernel needs longer.
	reapLimit = 10 * time.Second
	// maxPauseRounds bounds the search for children that were being forked
	// while their parent was stopped.
	maxPauseRounds = 20
)

var errNotRunning = errors.New("it is not running: call Restart first")

// processSpec describes a child process to start.
type processSpec struct {
	path   string
	args   []string
	dir    string
	env    []string
	log    string              // file that takes standard output and error
	cred   *syscall.Credential // nil: as ourselves
	onExit syscall.Signal      // what the child gets when this process dies (Linux)
}

// process is a running child. It is over when done is closed.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
	err  error // of Wait; read only after done
}

// startProcess starts the child and leaves one goroutine, supervise, waiting for
// it; that goroutine ends with the child.
func startProcess(spec processSpec) (*process, error) {
	logFile, err := openLog(spec.log)
	if err != nil {
		return nil, err
	}
	defer logFile.Close() // the child has its own descriptor

	cmd := exec.Command(spec.path, spec.args...)
	cmd.Dir, cmd.Env = spec.dir, spec.env
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.SysProcAttr = childAttributes(spec.cred, spec.onExit)

	p := &process{cmd: cmd, log: spec.log, done: make(chan struct{})}
	started := make(chan error, 1)
	go p.supervise(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.path, err)
	}
	return p, nil
}

// supervise starts the child and waits for it on one locked thread: the kernel's
// parent-death signal follows the thread that forked, not the process, so the
// thread must live as long as the child. It is never unlocked, hence discarded
// when the goroutine returns.
func (p *process) supervise(started chan<- error) {
	runtime.LockOSThread()
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	p.err = p.cmd.Wait()
	close(p.done)
}

func openLog(path string) (*os.File, error) {
	flags := os.O_CREATE | os.O_WRONLY | os.O_APPEND
	if info, err := os.Stat(path); err == nil && info.Size() > maxLogBytes {
		flags |= os.O_TRUNC
	}
	f, err := os.OpenFile(path, flags, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the server's log: %w", err)
	}
	return f, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// signal sends sig to the child alone. A child that has just gone is no error.
func (p *process) signal(sig syscall.Signal) error {
	err := p.cmd.Process.Signal(sig)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// wait returns when the child is gone or ctx ends.
func (p *process) wait(ctx context.Context) error {
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// killAll ends the child and its children at once, frozen ones too, and waits
// until the child is gone.
func (p *process) killAll() error {
	children, listErr := descendants(p.pid())
	if err := p.signal(syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill process %d: %w", p.pid(), err)
	}
	for _, child := range children {
		_ = syscall.Kill(child, syscall.SIGKILL) // gone already is as good
	}
	ctx, cancel := context.WithTimeout(context.Background(), reapLimit)
	defer cancel()
	if err := p.wait(ctx); err != nil {
		return fmt.Errorf("process %d survived SIGKILL for %s", p.pid(), reapLimit)
	}
	return listErr
}

// pause freezes the child, then its children: a frozen parent forks no more, so
// the search ends as soon as a round finds nobody new.
func (p *process) pause() error {
	if err := p.signal(syscall.SIGSTOP); err != nil {
		return fmt.Errorf("freeze process %d: %w", p.pid(), err)
	}
	var frozen []int
	for range maxPauseRounds {
		children, err := descendants(p.pid())
		if err != nil {
			return err
		}
		fresh := slices.DeleteFunc(children, func(pid int) bool { return slices.Contains(frozen, pid) })
		if len(fresh) == 0 {
			return nil
		}
		for _, child := range fresh {
			if err := syscall.Kill(child, syscall.SIGSTOP); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("freeze process %d, child of %d: %w", child, p.pid(), err)
			}
		}
		frozen = append(frozen, fresh...)
	}
	return fmt.Errorf("freeze process %d: still forking after %d rounds", p.pid(), maxPauseRounds)
}

// resume thaws the children first, so that the parent finds them running.
func (p *process) resume() error {
	children, err := descendants(p.pid())
	if err != nil {
		return err
	}
	for _, child := range children {
		if err := syscall.Kill(child, syscall.SIGCONT); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("thaw process %d, child of %d: %w", child, p.pid(), err)
		}
	}
	if err := p.signal(syscall.SIGCONT); err != nil {
		return fmt.Errorf("thaw process %d: %w", p.pid(), err)
	}
	return nil
}

// end asks the child to go with sig, thaws it so that it can, and waits; when ctx
// ends first the child and its children are killed, which is reported.
func (p *process) end(ctx context.Context, sig syscall.Signal) error {
	if err := p.signal(sig); err != nil {
		return fmt.Errorf("signal process %d: %w", p.pid(), err)
	}
	if p.alive() {
		if err := p.resume(); err != nil {
			return errors.Join(err, p.killAll())
		}
	}
	if err := p.wait(ctx); err == nil {
		return nil
	}
	if err := p.killAll(); err != nil {
		return err
	}
	return fmt.Errorf("process %d did not end on %s in time and was killed", p.pid(), sig)
}

// logTail is the end of the server's log, for an error message.
func (p *process) logTail() string { return tail(p.log) }

func tail(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return "(no log: " + err.Error() + ")"
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > logTailBytes {
		_, _ = f.Seek(-logTailBytes, io.SeekEnd)
	}
	text, _ := io.ReadAll(io.LimitReader(f, logTailBytes))
	return string(text)
}
