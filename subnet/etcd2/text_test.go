package etcd2

import (
	"context"
	"net"
	"testing"
)

// A failure is logged once by its text. A connection's own port is another one each
// time.
func TestAFailureThatLastsReadsTheSame(t *testing.T) {
	t.Parallel()
	resets, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resets.Close() })
	go func() {
		for {
			c, err := resets.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 1))
			_ = c.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
		}
	}()
	refuses, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := refuses.LocalAddr().String()
	_ = refuses.Close()
	for name, o := range map[string]Options{
		"reset":           {Endpoints: []string{"http://" + resets.Addr().String()}},
		"reset, with TLS": {Endpoints: []string{"https://" + resets.Addr().String()}},
		"no name server": {Endpoints: []string{"http://etcd.invalid.:2379"}, dial: resolving(&net.Resolver{PreferGo: true,
			Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "udp", nobody)
			}})},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o.Prefix = "/net"
			s := newTestStore(t, o, hasty())
			texts := make(map[string]int)
			for range 5 {
				_, err := s.Config(t.Context())
				if err == nil {
					t.Fatal("there is an answer")
				}
				texts[err.Error()]++
			}
			if len(texts) != 1 {
				t.Errorf("five failures of one kind read %v", texts)
			}
		})
	}
}
