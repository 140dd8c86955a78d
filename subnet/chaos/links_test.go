package chaos

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// links makes the ways from hosts to members.
type links struct {
	server  *toxiproxy.ApiServer
	members []string // host and port
}

func newLinks(urls []string) *links {
	l := &links{server: toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())}
	for _, u := range urls {
		l.members = append(l.members, strings.TrimPrefix(u, "http://"))
	}
	return l
}

// link is one host's way to each member. Faults begin and end for connections
// that exist, and hold for new ones. Safe for concurrent use.
type link struct {
	mu      sync.Mutex
	proxies []*toxiproxy.Proxy
}

func (l *links) to(t testing.TB, name string) *link {
	t.Helper()
	k := &link{}
	for i, m := range l.members {
		p := toxiproxy.NewProxy(l.server, fmt.Sprintf("%s-%d", name, i), "127.0.0.1:0", m)
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Stop)
		k.proxies = append(k.proxies, p)
	}
	return k
}

// urls are the endpoints to give to the host.
func (k *link) urls() []string {
	var urls []string
	for _, p := range k.proxies {
		urls = append(urls, "http://"+p.Listen)
	}
	return urls
}

// fault is a toxic of toxiproxy's. What it does to a request goes upstream.
type fault struct {
	name, kind, stream, attributes string
}

// The faults of a link. A black hole takes connections and all that is sent, as
// a network does that drops packets while the kernel still has buffers.
func blackHole(stream string) fault {
	return fault{"hole-" + stream, "timeout", stream, `{"timeout":0}`}
}
func latency(stream string, d, jitter time.Duration) fault {
	return fault{"latency-" + stream, "latency", stream, fmt.Sprintf(`{"latency":%d,"jitter":%d}`, d.Milliseconds(), jitter.Milliseconds())}
}
func reset() fault { return fault{"reset", "reset_peer", "downstream", `{"timeout":0}`} }
func truncation(bytes int) fault {
	return fault{"truncation", "limit_data", "downstream", fmt.Sprintf(`{"bytes":%d}`, bytes)}
}

// inject adds faults to the ways to the members named, to all if there is none.
func (k *link) inject(t testing.TB, members []int, faults ...fault) {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(members) == 0 {
		for i := range k.proxies {
			members = append(members, i)
		}
	}
	for _, i := range members {
		for _, f := range faults {
			toxic := fmt.Sprintf(`{"name":%q,"type":%q,"stream":%q,"toxicity":1,"attributes":%s}`, f.name, f.kind, f.stream, f.attributes)
			if _, err := k.proxies[i].Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
				t.Errorf("inject %s: %v", f.name, err)
			}
		}
	}
}

// heal ends all faults.
func (k *link) heal() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range k.proxies {
		p.Toxics.ResetToxics(context.Background())
	}
}
