package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
)

// liveOld is a life by the rules of deployed versions, in a model of ours: a
// renewal is a write without a condition, a host whose own key goes ends and
// starts again, and one that has missed events looks whether its key exists and
// not whose it is. Nothing tells it to stop believing in its lease meanwhile.
func liveOld(ctx context.Context, id identity, tell func(note)) error {
	o := &old{identity: id, client: &http.Client{Transport: &http.Transport{}, Timeout: 2 * call}, at: rand.IntN(len(id.Endpoints))}
	defer o.client.CloseIdleConnections()
	for ctx.Err() == nil {
		key, rev, err := o.acquire(ctx)
		if err != nil {
			pause(ctx, ttl/16)
			continue
		}
		o.Previous = key
		tell(note{Host: id.owner(), Kind: hold, Key: key, At: now(), Until: never, Rev: rev})
		gone, stop := context.WithCancel(ctx)
		go o.renew(gone, key)
		o.watch(ctx, key, rev)
		stop()
		tell(note{Host: id.owner(), Kind: drop, At: now()})
		pause(ctx, ttl/4)
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// old is a client of the v2 API that asks one endpoint until that fails.
type old struct {
	identity
	client *http.Client
	at     int
}

type answer struct {
	Action    string
	ErrorCode int
	Node      struct {
		node
		Nodes []node
	}
	index uint64
}

func (o *old) do(ctx context.Context, method, key string, query, form url.Values) (answer, error) {
	var a answer
	u := o.Endpoints[o.at%len(o.Endpoints)] + "/v2/keys" + key + "?" + query.Encode()
	r, err := http.NewRequestWithContext(ctx, method, u, strings.NewReader(form.Encode()))
	if err != nil {
		return a, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := o.client.Do(r)
	if err != nil {
		o.at++
		return a, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil {
		err = json.Unmarshal(body, &a)
	}
	if err == nil && resp.StatusCode >= 500 {
		err = errors.New(resp.Status)
	}
	a.index, _ = strconv.ParseUint(resp.Header.Get("X-Etcd-Index"), 10, 64)
	return a, err
}

func (o *old) key(name string) string { return prefix + "/subnets/" + name }

func (o *old) value() url.Values {
	l := o.lease()
	l.V4.Subnet = network(o.Pool).V4.Network // a value does not say it
	return url.Values{"value": {encode(l)}, "ttl": {strconv.Itoa(int(ttl.Seconds()))}}
}

func (o *old) acquire(ctx context.Context) (key string, rev uint64, err error) {
	all, err := o.do(ctx, http.MethodGet, prefix+"/subnets", url.Values{"recursive": {"true"}}, nil)
	if err != nil {
		return "", 0, err
	}
	used := make(map[string]bool)
	for _, n := range all.Node.Nodes {
		name := path.Base(n.Key)
		used[name] = true
		if owner(n.Value) == o.owner() {
			set, err := o.do(ctx, http.MethodPut, o.key(name), nil, o.value())
			return name, set.Node.ModifiedIndex, err
		}
	}
	key = o.Previous
	if key == "" || used[key] {
		var free []string
		r := network(o.Pool).V4
		for a := r.Min; a.Compare(r.Max) <= 0 && len(free) < 100; {
			if name := a.String() + "-24"; !used[name] {
				free = append(free, name)
			}
			b := a.As4()
			b[2]++
			if b[2] == 0 {
				b[1]++
			}
			a = netip.AddrFrom4(b)
		}
		if len(free) == 0 {
			return "", 0, errors.New("full")
		}
		key = free[rand.IntN(len(free))]
	}
	v := o.value()
	v.Set("prevExist", "false")
	made, err := o.do(ctx, http.MethodPut, o.key(key), nil, v)
	if err == nil && made.ErrorCode != 0 {
		err = fmt.Errorf("error %d", made.ErrorCode)
	}
	return key, made.Node.ModifiedIndex, err
}

// renew writes at three quarters of the time to live, and soon again if that
// fails.
func (o *old) renew(ctx context.Context, key string) {
	own := *o
	for pause(ctx, ttl*3/4); ctx.Err() == nil; {
		if _, err := own.do(ctx, http.MethodPut, o.key(key), nil, o.value()); err != nil {
			pause(ctx, ttl/8)
		} else {
			pause(ctx, ttl*3/4)
		}
	}
}

// watch ends when the key goes.
func (o *old) watch(ctx context.Context, key string, after uint64) {
	for ctx.Err() == nil {
		a, err := o.do(ctx, http.MethodGet, o.key(key), url.Values{"wait": {"true"}, "waitIndex": {strconv.FormatUint(after+1, 10)}}, nil)
		switch {
		case err != nil:
			pause(ctx, ttl/40)
		case a.ErrorCode == 401:
			now, err := o.do(ctx, http.MethodGet, o.key(key), nil, nil)
			if err == nil && now.ErrorCode == 100 {
				return
			}
			if err == nil && now.index > 0 {
				after = now.index
			}
		case a.Action == "expire" || a.Action == "delete":
			return
		default:
			after = max(after, a.Node.ModifiedIndex)
		}
	}
}
