package bpf

import (
	"encoding/base64"
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRefusedProgramsSayWhy(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to load programs")
	}
	// exit, with nothing in r0: "R0 !read_ok", and in 7.3 a suggestion about R0.
	code := []byte{unix.BPF_JMP | unix.BPF_EXIT, 0, 0, 0, 0, 0, 0, 0}
	p := Program{Name: "wrong", Kind: unix.BPF_PROG_TYPE_SOCKET_FILTER, Code: base64.StdEncoding.EncodeToString(code)}
	_, err := p.Load()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
		t.Skip(err)
	}
	if !errors.Is(err, unix.EACCES) || !strings.Contains(err.Error(), "R0 ") {
		t.Errorf("Load: %v, want what the verifier says", err)
	}
	p.Code = "?"
	if _, err := p.Load(); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("Load of no program: %v", err)
	}
}
