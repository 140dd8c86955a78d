package wake

import (
	"context"
	"testing"
)

func TestManyTokensAreOne(t *testing.T) {
	c := New()
	for range 3 {
		c.Wake()
	}
	<-c
	select {
	case <-c:
		t.Error("a second token was left")
	default:
	}
	c.Wake()
	select {
	case <-c:
	default:
		t.Error("no token was left after the first was taken")
	}
}

func TestWakeFor(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	from, to, done := New(), New(), make(chan error)
	go func() { done <- to.WakeFor(ctx, from) }()
	for range 2 {
		from.Wake()
		<-to
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
