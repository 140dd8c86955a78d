package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"flanneld/subnet"
	"flanneld/subnet/config"
)

func configAsWritten(t *testing.T, h Harness) {
	const raw = "{ \"Network\":\"10.5.0.0/16\",\n\t\"x\": \"ü<>&\" }"
	h.SetConfig(raw)
	d, err := h.Store.Config(t.Context())
	if err != nil || string(d.Raw) != raw || d.Rev == 0 {
		t.Errorf("Config = %q at %d, %v; want %q", d.Raw, d.Rev, err, raw)
	}
	h.SetConfig("{}")
	if e, err := h.Store.Config(t.Context()); err != nil || string(e.Raw) != "{}" || e.Rev <= d.Rev {
		t.Errorf("Config = %q at %d, %v; want {} at a revision after %d", e.Raw, e.Rev, err, d.Rev)
	}
	h.SetConfig("")
	if e, err := h.Store.Config(t.Context()); err != nil || e.Raw == nil || len(e.Raw) != 0 {
		t.Errorf("Config = %#v, %v; want a document that is empty, and not nil", e.Raw, err)
	}
}

func configMissing(t *testing.T, h Harness) {
	d, err := h.Store.Config(t.Context())
	if !errors.Is(err, config.ErrNone) || d.Rev == 0 || d.Raw != nil {
		t.Errorf("Config = %q at %d, %v; want ErrNoConfig and the revision", d.Raw, d.Rev, err)
	}
}

// await calls AwaitConfig while f is done, and wants the answer soon after it.
// Early returns with what was there are allowed.
func await(t *testing.T, h Harness, after subnet.Revision, f func()) (config.Document, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	type result struct {
		d   config.Document
		err error
	}
	answer := make(chan result, 1)
	go func() {
		for {
			d, err := h.Store.AwaitConfig(ctx, after)
			if d.Rev > after || ctx.Err() != nil {
				answer <- result{d, err}
				return
			}
		}
	}()
	time.Sleep(100 * time.Millisecond) // so that it waits, most of the time; it need not
	start := time.Now()
	f()
	r := <-answer
	if d := time.Since(start); d > time.Second {
		t.Errorf("AwaitConfig took %v to notice", d)
	}
	return r.d, r.err
}

func awaitWrite(t *testing.T, h Harness) {
	d, _ := h.Store.Config(t.Context())
	d, err := await(t, h, d.Rev, func() { h.SetConfig("1") })
	if err != nil || string(d.Raw) != "1" {
		t.Fatalf("AwaitConfig = %q, %v; want 1", d.Raw, err)
	}
	d, err = await(t, h, d.Rev, func() { h.SetConfig("2") })
	if err != nil || string(d.Raw) != "2" {
		t.Fatalf("AwaitConfig = %q, %v; want 2", d.Raw, err)
	}
}

func awaitDelete(t *testing.T, h Harness) {
	h.SetConfig("1")
	d, err := h.Store.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d, err = await(t, h, d.Rev, h.DeleteConfig)
	if !errors.Is(err, config.ErrNone) || d.Rev == 0 {
		t.Errorf("AwaitConfig = %q at %d, %v; want ErrNoConfig and the revision", d.Raw, d.Rev, err)
	}
}

func awaitPast(t *testing.T, h Harness) {
	before, _ := h.Store.Config(t.Context())
	h.SetConfig("1")
	for _, churned := range []int{0, 1001} { // and also when nobody remembers
		h.Churn(churned)
		d, err := await(t, h, before.Rev, func() {})
		if err != nil || string(d.Raw) != "1" {
			t.Errorf("AwaitConfig = %q, %v; want 1", d.Raw, err)
		}
	}
}

func awaitIgnoresLeases(t *testing.T, h Harness) {
	h.SetConfig("1")
	d, err := h.Store.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	create(t, h, lease(1, 1), time.Minute)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if got, err := h.Store.AwaitConfig(ctx, d.Rev); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("AwaitConfig = %q at %d, %v; want it to wait", got.Raw, got.Rev, err)
	}
}
