package etcd2

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"flanneld/subnet"
	"flanneld/subnet/config"
	"flanneld/subnet/wire"
)

// FuzzAnswer has a server answer anything to what is read. A failure is one line that
// names the server; what is read is read as it would be written.
func FuzzAnswer(f *testing.F) {
	f.Add(200, "5", someNode)
	f.Add(404, "5", noKeyAt(7))
	f.Add(400, "", cleared)
	f.Add(200, "5", `{"node":{"key":"/net/subnets","dir":true,"modifiedIndex":4,"nodes":[
		{"key":"/net/subnets/10.5.1.0-24","value":"{\"PublicIP\":\"192.0.2.1\",\"BackendType\":\"vxlan\",\"BackendData\":{\"VNI\":1}}","ttl":9,"expiration":"2030-01-02T03:04:05Z","modifiedIndex":4},
		{"key":"/net/subnets/x","value":"","modifiedIndex":4}]}}`)
	f.Add(200, "5", `{"node":{"modifiedIndex":4,"nodes":[null]}}`)
	f.Add(200, "x", "")
	f.Add(200, "", "<html>")
	f.Add(401, "", `{"message":"Insufficient\ncredentials"}`)
	f.Add(503, "", `{"message":"\n\u0000","cause":"etcd"}`)
	var mu sync.Mutex
	var status int
	var index, body string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		w.Header().Set("X-Etcd-Index", index)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	f.Cleanup(server.Close)
	f.Fuzz(func(t *testing.T, code int, at, text string) {
		if code < 200 || code > 599 || code/100 == 3 || strings.ContainsAny(at, "\r\n\x00") {
			return // an answer of HTTP, and final
		}
		mu.Lock()
		status, index, body = code, at, text
		mu.Unlock()
		s := newTestStore(t, Options{Endpoints: []string{server.URL}, Prefix: "/net", Log: slog.New(slog.DiscardHandler)}, hasty())
		named := func(err error) {
			if err != nil && !errors.Is(err, config.ErrNone) && (strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), server.Listener.Addr().String())) {
				t.Errorf("%q is not one line with the server's address", err)
			}
		}
		doc, err := s.Config(t.Context())
		named(err)
		if err == nil && len(doc.Raw) > len(text) {
			t.Errorf("the configuration is %q", doc.Raw)
		}
		leases, _, err := s.Leases(t.Context())
		named(err)
		for _, l := range leases {
			value, err := wire.Encode(l)
			if err != nil {
				t.Errorf("%v cannot be written: %v", l, err)
				continue
			}
			again, err := wire.Decode(wire.Key(l.Key()), value)
			if again.Expires, again.Rev = l.Expires, l.Rev; err != nil || !reflect.DeepEqual(again, l) {
				t.Errorf("%v is written as %s and read as %v, %v", l, value, again, err)
			}
		}
	})
}

// FuzzWatch has a server answer anything to a wait. What is yielded is a lease that can be
// written, or a key that can be parsed; a failure is one line that names the server.
func FuzzWatch(f *testing.F) {
	f.Add(event9)
	f.Add(`{}`)
	f.Add(`{"action":"delete","prevNode":{"key":"/x"}}`)
	f.Add(`{"action":"expire","node":{"key":"/net/subnets/10.5.1.0-24&fd00::-64","modifiedIndex":9},"prevNode":{"value":"x"}}`)
	f.Add(`{"action":"delete","node":{"key":"/net/subnets","dir":true,"modifiedIndex":9}}`)
	f.Add(`{"action":"set","node":{"key":"/net/subnets/10.5.1.0-24","value":"junk","modifiedIndex":18446744073709551615}}`)
	f.Add(`{"action":"set","node":{"key":"/net/subnets/10.5.1.0-24","dir":true,"nodes":[null],"modifiedIndex":9}}`)
	var text atomic.Value
	var waits atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !isWait(r):
			reply(w, 9, 200, someNode)
		case waits.Add(1) == 1:
			reply(w, 9, 200, text.Load().(string))
		default:
			reply(w, 9, 400, cleared)
		}
	}))
	f.Cleanup(server.Close)
	f.Fuzz(func(t *testing.T, body string) {
		text.Store(body)
		waits.Store(0)
		times := hasty()
		times.pause = 0
		s := newTestStore(t, Options{Endpoints: []string{server.URL}, Prefix: "/net", Log: slog.New(slog.DiscardHandler)}, times)
		for e, err := range s.Watch(t.Context(), 5) {
			switch {
			case errors.Is(err, subnet.ErrCompacted):
			case err != nil && (strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), server.Listener.Addr().String())):
				t.Errorf("%q is not one line with the server's address", err)
			case err != nil:
			case e.Deleted:
				if k, err := wire.ParseKey(wire.Key(e.Lease.Key())); err != nil || k != e.Lease.Key() {
					t.Errorf("%+v was deleted: %v", e.Lease, err)
				}
			default:
				if _, err := wire.Encode(e.Lease); err != nil || e.Lease.Rev == 0 {
					t.Errorf("%+v cannot be written: %v", e.Lease, err)
				}
			}
		}
	})
}

// FuzzAnswerBody: of a body that is etcd's the client gets every byte, and no more of
// one than is allowed.
func FuzzAnswerBody(f *testing.F) {
	f.Add([]byte(" {}"), 200, false, int64(3))
	f.Add([]byte("x"), 404, false, int64(100))
	f.Add([]byte("\n \n"), 200, true, int64(100))
	f.Add([]byte(`{"a":1}`), 200, true, int64(2))
	f.Fuzz(func(t *testing.T, body []byte, status int, wait bool, most int64) {
		most = max(most, 0)
		a := &answer{ReadCloser: io.NopCloser(bytes.NewReader(body)), endpoint: "http://h:1", status: status, wait: wait, left: most}
		got, err := io.ReadAll(a)
		if int64(len(got)) > most || !bytes.HasPrefix(body, got) {
			t.Errorf("%q is read as %q", body, got)
		}
		text := bytes.TrimLeft(body, " \t\r\n")
		fine := int64(len(body)) <= most && (len(text) > 0 && text[0] == '{' || len(text) == 0 && !wait)
		if (err == nil) != fine {
			t.Errorf("%q, of %d bytes at most: %v", body, most, err)
		}
		if err != nil && !strings.Contains(err.Error(), "h:1") {
			t.Errorf("%v does not name the endpoint", err)
		}
	})
}
