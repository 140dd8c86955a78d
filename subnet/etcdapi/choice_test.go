package etcdapi

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"flanneld/pkg/glog"
	"flanneld/subnet"
	"flanneld/subnet/config"
	"flanneld/subnet/etcd"
	"flanneld/subnet/memstore"
)

const (
	doc2 = `{"Network":"10.2.0.0/16"}`
	doc3 = `{"Network":"10.3.0.0/16"}`
)

var (
	errAway    = errors.New("etcd is away")
	errAuth    = errors.New("110: The request requires user authentication")
	errLacks   = error(etcd.NoAPIError{})
	errSilent  = error(etcd.NoAPIError{Silent: []error{errors.New("http://b:2379: connection refused")}})
	errRefused = errors.New("not without https")
)

// fake is a store of one API.
type fake struct {
	*memstore.Store
	err    atomic.Pointer[error] // of each call that asks for the configuration; nil: none
	late   time.Duration         // until it answers
	closed atomic.Bool
	addr   netip.Addr
}

func newFake(doc string, err error, addr string) *fake {
	f := &fake{Store: memstore.New(), addr: netip.MustParseAddr(addr)}
	if doc != "" {
		f.SetConfig(doc)
	}
	f.fails(err)
	return f
}

func (f *fake) fails(err error) {
	f.err.Store(nil)
	if err != nil {
		f.err.Store(&err)
	}
}

func (f *fake) Config(ctx context.Context) (config.Document, error) {
	select {
	case <-time.After(f.late):
	case <-ctx.Done():
		return config.Document{}, ctx.Err()
	}
	if err := f.err.Load(); err != nil {
		return config.Document{}, *err
	}
	return f.Store.Config(ctx)
}

func (f *fake) AwaitConfig(ctx context.Context, after subnet.Revision) (config.Document, error) {
	if err := f.err.Load(); err != nil {
		return config.Document{}, *err
	}
	return f.Store.AwaitConfig(ctx, after)
}

func (f *fake) Moved()              {}
func (f *fake) Close()              { f.closed.Store(true) }
func (f *fake) Tried() []netip.Addr { return []netip.Addr{f.addr} }

// choice is a Choice between two fakes, and its log.
func choice(t *testing.T, v2, v3 *fake, change func(*Options)) (*Choice, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	o := Options{V2: v2, V3: v3, Prefix: "/net", Log: slog.New(glog.New(&log, nil))}
	if change != nil {
		change(&o)
	}
	return New(o), &log
}

func TestTheFirstLook(t *testing.T) {
	for name, row := range map[string]struct {
		doc2, doc3 string
		err2, err3 error
		last       API
		refused    error
		want       API           // empty: it is not known
		err        []string      // of Config, if it is not known
		log        string        // in the line that says which it is
		took       time.Duration // zero: at once
	}{
		"v2 has it":                        {doc2: doc2, want: V2, log: "Using etcd's v2 API: the network's configuration is there"},
		"v3 has it":                        {doc3: doc3, want: V3, log: "Using etcd's v3 API: the network's configuration is there, and none in v2"},
		"both have it":                     {doc2: doc2, doc3: doc3, want: V2, log: "Both of etcd's APIs have a network configuration; v2's counts"},
		"v2 has it, v3 is not there":       {doc2: doc2, err3: errLacks, want: V2},
		"v2 has it, v3 does not answer":    {doc2: doc2, err3: errAway, want: V2},
		"v3 has it, etcd has no v2":        {doc3: doc3, err2: errLacks, want: V3, log: "this etcd has no v2 API"},
		"v3 has it, a member is silent":    {doc3: doc3, err2: errSilent, want: V3, log: "no v2 API; silent: http://b:2379: connection refused", took: secondLook},
		"v3 has it, v2 asks who it is":     {doc3: doc3, err2: errAuth, err: []string{"110: The request", "etcd's v3 API has one: give --etcd-api=v3"}},
		"v3 has it, v2 does not answer":    {doc3: doc3, err2: errAway, err: []string{"etcd is away"}},
		"v3 has it, and is not to be used": {doc3: doc3, refused: errRefused, err: []string{"not without https"}},
		"v2 has it, v3 is not to be used":  {doc2: doc2, refused: errRefused, want: V2},
		"neither answers":                  {err2: errAway, err3: errAuth, err: []string{"etcd is away"}},
		"etcd has no v2, v3 fails":         {err2: errLacks, err3: errAuth, err: []string{"110:"}},

		"this host ran on v3, both have it":        {doc2: doc2, doc3: doc3, last: V3, want: V3},
		"this host ran on v3, it is gone there":    {doc2: doc2, last: V3, want: V2, log: "this host ran on v3 before"},
		"this host ran on v3, which is away":       {doc2: doc2, err3: errAway, last: V3, err: []string{"etcd is away"}},
		"this host ran on v2, both have it":        {doc2: doc2, doc3: doc3, last: V2, want: V2},
		"this host ran on v2, it is gone there":    {doc3: doc3, last: V2, want: V3, log: "this host ran on v2 before"},
		"this host ran on v2, which etcd has lost": {doc3: doc3, err2: errSilent, last: V2, want: V3},
		"this host ran on v2, which is away":       {doc3: doc3, err2: errAway, last: V2, err: []string{"etcd is away"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v2, v3 := newFake(row.doc2, row.err2, "192.0.2.2"), newFake(row.doc3, row.err3, "192.0.2.3")
				c, log := choice(t, v2, v3, func(o *Options) { o.Last, o.RefusedV3 = row.last, row.refused })
				start := time.Now()
				doc, err := c.Config(t.Context())
				if took := time.Since(start); took != row.took {
					t.Errorf("it took %s, want %s", took, row.took)
				}
				if c.Decided() != row.want {
					t.Errorf("it is %q, want %q; %v", c.Decided(), row.want, err)
				}
				want := map[API]string{V2: doc2, V3: doc3}[row.want]
				if string(doc.Raw) != want || (err == nil) != (row.want != "") || err != nil && doc.Rev != 0 {
					t.Errorf("Config = %s at %d, %v; want %q", doc.Raw, doc.Rev, err, want)
				}
				for _, part := range row.err {
					if !strings.Contains(err.Error(), part) {
						t.Errorf("error %q does not have %q", err, part)
					}
				}
				if !strings.Contains(log.String(), row.log) || strings.Count(log.String(), "Using etcd's") > 1 || strings.Contains(log.String(), "Both") != (row.doc2 != "" && row.doc3 != "" && row.last != V3) {
					t.Errorf("the log says %s, want %q", log, row.log)
				}
				if v2.closed.Load() != (row.want == V3) || v3.closed.Load() != (row.want == V2) {
					t.Errorf("closed: v2 %t, v3 %t", v2.closed.Load(), v3.closed.Load())
				}
				if tried := len(c.Tried()); (tried == 1) != (row.want != "") {
					t.Errorf("tried %v", c.Tried())
				}
			})
		})
	}
}

func TestAMissingConfigurationIsNamedAsItsAPIDoes(t *testing.T) {
	none := map[API]error{V2: errors.New("100: Key not found (/net/config) [5]"), V3: errors.New("flannel config not found in etcd store. Did you create your config using etcdv3 API?")}
	put, mk := `ETCDCTL_API=3 etcdctl put /net/config '{"Network": "10.100.0.0/16"}'`, `ETCDCTL_API=2 etcdctl mk /net/config '{"Network": "10.100.0.0/16"}'`
	for name, row := range map[string]struct {
		api        API
		err2, err3 error
		doc2, doc3 string
		text       string
		where      string
		remedy     []string
	}{
		"either":             {text: none[V2].Error() + "; " + none[V3].Error(), where: "etcd has none at /net/config, through either of its APIs", remedy: []string{put, mk}},
		"v2, as asked":       {api: V2, text: none[V2].Error(), where: "etcd's v2 API has none at /net/config", remedy: []string{mk}},
		"v2, other has one":  {api: V2, doc3: doc3, text: none[V2].Error() + "; there is one for etcd's v3 API, which --etcd-api=v3 uses", where: "etcd's v2", remedy: []string{mk}},
		"v3, as asked":       {api: V3, text: none[V3].Error(), where: "etcd's v3 API has none at /net/config", remedy: []string{put}},
		"v3, other has one":  {api: V3, doc2: doc2, text: none[V3].Error() + "; there is one for etcd's v2 API, which --etcd-api=v2 uses", where: "etcd's v3", remedy: []string{put}},
		"etcd has no v2":     {err2: errLacks, text: none[V3].Error(), where: "etcd's v3 API", remedy: []string{put}},
		"etcd has no v3":     {err3: errLacks, text: none[V2].Error(), where: "etcd's v2 API", remedy: []string{mk}},
		"v3 does not answer": {err3: errAway, text: none[V2].Error() + "; etcd's v3 API: etcd is away", where: "etcd's v2 API", remedy: []string{mk}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				says := func(api API, doc string, err error) *fake {
					if doc == "" && err == nil {
						err = &config.Missing{Err: worded{none[api]}}
					}
					return newFake(doc, err, "192.0.2.1")
				}
				c, _ := choice(t, says(V2, row.doc2, row.err2), says(V3, row.doc3, row.err3), func(o *Options) { o.API = row.api })
				_, err := c.Config(t.Context())
				m, ok := errors.AsType[*config.Missing](err)
				if !ok || !errors.Is(err, config.ErrNone) || err.Error() != row.text || !strings.Contains(m.Where, row.where) {
					t.Fatalf("error %v\nwant  %s\nwhere %s", err, row.text, row.where)
				}
				for _, part := range row.remedy {
					if !strings.Contains(m.Remedy, part) {
						t.Errorf("remedy %s, want %s", m.Remedy, part)
					}
				}
			})
		})
	}
}

// worded is config.ErrNone in a store's own words.
type worded struct{ error }

func (worded) Is(target error) bool { return target == config.ErrNone }

func TestAnEtcdWithoutTheAPIThatIsAskedForNamesTheOther(t *testing.T) {
	c, _ := choice(t, newFake("", errLacks, "192.0.2.2"), newFake(doc3, nil, "192.0.2.3"), func(o *Options) { o.API = V2 })
	_, err := c.Config(t.Context())
	if err == nil || errors.Is(err, config.ErrNone) || !strings.Contains(err.Error(), "--etcd-api=v3 uses") {
		t.Errorf("error %v", err)
	}
}

func TestTheOneThatAppearsFirstIsTaken(t *testing.T) {
	for name, row := range map[string]struct {
		err2, err3 error
		write      func(v2, v3 *fake)
		want       API
		within     time.Duration
	}{
		"v2": {write: func(v2, _ *fake) { v2.SetConfig(doc2) }, want: V2},
		"v3": {write: func(_, v3 *fake) { v3.SetConfig(doc3) }, want: V3, within: secondLook},
		"v3, and v2 while it is looked": {write: func(v2, v3 *fake) {
			v3.SetConfig(doc3)
			time.Sleep(secondLook - 1)
			v2.SetConfig(doc2)
		}, want: V2, within: secondLook},
		"both at once":                    {write: func(v2, v3 *fake) { v3.SetConfig(doc3); v2.SetConfig(doc2) }, want: V2, within: secondLook},
		"v3, without a v2":                {err2: errLacks, write: func(_, v3 *fake) { v3.SetConfig(doc3) }, want: V3},
		"v2, without a v3":                {err3: errLacks, write: func(v2, _ *fake) { v2.SetConfig(doc2) }, want: V2},
		"v2, beside a v3 that is away":    {err3: errAway, write: func(v2, _ *fake) { v2.SetConfig(doc2) }, want: V2},
		"v3, once it answers":             {err3: errAway, write: func(_, v3 *fake) { v3.SetConfig(doc3); v3.fails(nil) }, want: V3, within: againAfter + secondLook},
		"v3, while v2 does not let us in": {write: func(v2, v3 *fake) { v2.fails(errAuth); v3.SetConfig(doc3) }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v2, v3 := newFake("", row.err2, "192.0.2.2"), newFake("", row.err3, "192.0.2.3")
				c, log := choice(t, v2, v3, nil)
				doc, err := c.Config(t.Context())
				if !errors.Is(err, config.ErrNone) || doc.Rev == 0 || c.Decided() != "" {
					t.Fatalf("Config = %+v, %v; it is %q", doc, err, c.Decided())
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				var wrote time.Time
				time.AfterFunc(time.Minute, func() { wrote = time.Now(); row.write(v2, v3) })
				got, err := c.AwaitConfig(ctx, doc.Rev)
				if took := time.Since(wrote); wrote.IsZero() || took > row.within {
					t.Errorf("it took %s, want %s", took, row.within)
				}
				want := map[API]string{V2: doc2, V3: doc3}[row.want]
				if (err == nil) != (row.want != "") || string(got.Raw) != want || c.Decided() != row.want {
					t.Errorf("AwaitConfig = %s, %v; it is %q; log %s", got.Raw, err, c.Decided(), log)
				}
			})
		})
	}
}

// A host that is given another address loses its connections to both.
func TestAMomentWithoutEtcdDelaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v2, v3 := newFake("", nil, "192.0.2.2"), newFake("", nil, "192.0.2.3")
		c, _ := choice(t, v2, v3, nil)
		doc, err := c.Config(t.Context())
		if !errors.Is(err, config.ErrNone) {
			t.Fatal(err)
		}
		v2.fails(errAway)
		v3.fails(errAway)
		time.AfterFunc(50*time.Millisecond, func() { v2.fails(nil); v3.fails(nil) })
		var wrote time.Time
		time.AfterFunc(time.Second, func() { wrote = time.Now(); v2.SetConfig(doc2) })
		if got, err := c.AwaitConfig(t.Context(), doc.Rev); err != nil || string(got.Raw) != doc2 || time.Since(wrote) > 0 {
			t.Errorf("AwaitConfig = %s, %v, %s after it was written", got.Raw, err, time.Since(wrote))
		}
	})
}

func TestAwaitConfigEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := choice(t, newFake("", nil, "192.0.2.2"), newFake("", nil, "192.0.2.3"), nil)
		if _, err := c.Config(t.Context()); !errors.Is(err, config.ErrNone) {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		if _, err := c.AwaitConfig(ctx, 1); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Minute {
			t.Errorf("%v after %s", err, time.Since(start))
		}
	})
}

// A decision is for life: whatever etcd says later.
func TestADecisionStays(t *testing.T) {
	for name, decide := range map[string]func(*Choice) error{
		"found":      func(c *Choice) error { _, err := c.Config(t.Context()); return err },
		"by a lease": func(c *Choice) error { _, _, err := c.Leases(t.Context()); return err },
		"resumed":    func(c *Choice) error { return c.Resume(V3) },
	} {
		t.Run(name, func(t *testing.T) {
			v2, v3 := newFake("", nil, "192.0.2.2"), newFake(doc3, nil, "192.0.2.3")
			c, _ := choice(t, v2, v3, nil)
			if err := decide(c); err != nil {
				t.Fatal(err)
			}
			v2.SetConfig(doc2)
			v3.DeleteConfig()
			if _, err := c.Config(t.Context()); !errors.Is(err, config.ErrNone) || c.Decided() != V3 {
				t.Errorf("%v; it is %q", err, c.Decided())
			}
			if err := c.Resume(V2); err == nil || !strings.Contains(err.Error(), "it is of etcd's v2 API, and this daemon uses v3") {
				t.Errorf("resumed on v2: %v", err)
			}
			l := subnet.Lease{V4: subnet.Claim{Subnet: netip.MustParsePrefix("10.3.1.0/24"), PublicIP: netip.MustParseAddr("192.0.2.9")}}
			if _, err := c.Create(t.Context(), l, time.Hour); err != nil {
				t.Fatal(err)
			}
			if in2, _, _ := v2.Leases(t.Context()); len(in2) != 0 {
				t.Errorf("v2 has %v", in2)
			}
		})
	}
}

func TestNothingIsDoneInEtcdBeforeTheDecision(t *testing.T) {
	c, _ := choice(t, newFake("", nil, "192.0.2.2"), newFake("", nil, "192.0.2.3"), nil)
	l := subnet.Lease{}
	_, _, e1 := c.Leases(t.Context())
	_, e2 := c.Create(t.Context(), l, time.Hour)
	_, e3 := c.Renew(t.Context(), l, l, time.Hour)
	_, _, e4 := c.Refresh(t.Context(), l, time.Hour)
	for i, err := range []error{e1, e2, e3, e4, c.Delete(t.Context(), l)} {
		if !errors.Is(err, config.ErrNone) {
			t.Errorf("call %d: %v", i, err)
		}
	}
	for _, err := range c.Watch(t.Context(), 1) {
		if !errors.Is(err, config.ErrNone) {
			t.Errorf("Watch: %v", err)
		}
	}
}

func TestWithoutV3TheChoiceIsV2(t *testing.T) {
	var log bytes.Buffer
	c := New(Options{V2: newFake(doc2, nil, "192.0.2.2"), Last: V3, Prefix: "/net", Log: slog.New(glog.New(&log, nil))})
	if err := c.Resume(V3); err == nil || !strings.Contains(err.Error(), "built without") {
		t.Errorf("resumed: %v", err)
	}
	if doc, err := c.Config(t.Context()); err != nil || string(doc.Raw) != doc2 {
		t.Errorf("Config = %s, %v", doc.Raw, err)
	}
	c.Moved()
	c.Close()
}

// An answer of v3 that is only for the log is waited for no longer than that.
func TestAV3ThatHangsDoesNotDelayV2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v3 := newFake("", nil, "192.0.2.3")
		v3.late = time.Hour
		c, _ := choice(t, newFake(doc2, nil, "192.0.2.2"), v3, nil)
		start := time.Now()
		if _, err := c.Config(t.Context()); err != nil || time.Since(start) != grace || c.Decided() != V2 {
			t.Errorf("%v after %s; it is %q", err, time.Since(start), c.Decided())
		}
	})
}

// Calls at once, of which each may find another one, end with the same.
func TestCallsAtOnceFindOneAPI(t *testing.T) {
	for range 50 {
		v2, v3 := newFake("", nil, "192.0.2.2"), newFake(doc3, nil, "192.0.2.3")
		c, log := choice(t, v2, v3, nil)
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				switch i % 4 {
				case 0:
					_, _ = c.Config(t.Context())
				case 1:
					_, _, _ = c.Leases(t.Context())
				case 2:
					_ = c.Resume(V2)
				case 3:
					v2.SetConfig(doc2)
				}
				c.Moved()
				c.Tried()
			})
		}
		all.Wait()
		is := c.Decided()
		doc, err := c.Config(t.Context())
		if want := map[API]string{V2: doc2, V3: doc3}[is]; err != nil || string(doc.Raw) != want || strings.Count(log.String(), "Using etcd's") != 1 {
			t.Fatalf("it is %q: %s, %v; log %s", is, doc.Raw, err, log)
		}
		if v2.closed.Load() != (is == V3) || v3.closed.Load() != (is == V2) {
			t.Fatalf("it is %q; closed: v2 %t, v3 %t", is, v2.closed.Load(), v3.closed.Load())
		}
	}
}
