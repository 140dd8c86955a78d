package netlab

import (
	"strings"
	"testing"
)

func TestRemainsAreRemoved(t *testing.T) {
	if err := Supported(); err != nil {
		t.Skip(err)
	}
	killed, err := New()
	if err != nil {
		t.Fatal(err)
	}
	other, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := other.Close(); err != nil {
			t.Error(err)
		}
	}()
	left := killed.Switch().Command(t.Context(), "sleep", "600")
	if err := left.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- left.Wait() }()
	if err := RemoveRemains(killed.Name()); err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil || err.Error() != "signal: killed" {
		t.Errorf("the process ended by %v", err)
	}
	list, err := output("ip", "netns", "list")
	if err != nil || strings.Contains(list, killed.Name()) || !strings.Contains(list, other.Name()) {
		t.Errorf("%v: there are %s", err, list)
	}
}
