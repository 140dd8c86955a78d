package engine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"flanneld/pkg/netlab"
	"flanneld/pkg/udpbatch"
)

// block is what is sent again and again. Its length is prime, so that nothing
// that repeats fits into it.
var block = func() []byte {
	b := make([]byte, 1048573)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return b
}()

// checker compares what is written to it with the blocks that were sent.
type checker struct{ n int }

func (c *checker) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		want := block[c.n%len(block):]
		n := min(len(rest), len(want))
		if !bytes.Equal(rest[:n], want[:n]) {
			return 0, fmt.Errorf("wrong bytes after %d", c.n)
		}
		c.n += n
		rest = rest[n:]
	}
	return len(b), nil
}

// transferTCP sends size bytes from one container to another and compares what
// arrives. The options are of the IPv4 headers.
func transferTCP(t testing.TB, from, to *netlab.Container, size int, options ...byte) {
	t.Helper()
	var in, out net.Conn
	var l net.Listener
	inside(t, to.Namespace.Namespace(), func() (err error) {
		l, err = net.Listen("tcp", to.Addr().Addr().String()+":0")
		return err
	})
	defer l.Close()
	inside(t, from.Namespace.Namespace(), func() (err error) {
		out, err = net.DialTimeout("tcp", l.Addr().String(), 10*time.Second)
		return err
	})
	defer out.Close()
	in, err := l.Accept()
	must(t, err)
	defer in.Close()
	if len(options) > 0 {
		setOptions(t, out.(*net.TCPConn), options)
	}
	deadline := time.Now().Add(time.Minute)
	must(t, in.SetDeadline(deadline))
	must(t, out.SetDeadline(deadline))
	sent := make(chan error, 1)
	go func() {
		defer out.Close()
		for left := size; left > 0; {
			n, err := out.Write(block[:min(left, len(block))])
			if err != nil {
				sent <- err
				return
			}
			left -= n
		}
		sent <- nil
	}()
	var c checker
	_, err = io.CopyBuffer(struct{ io.Writer }{&c}, struct{ io.Reader }{in}, make([]byte, 128<<10))
	if err != nil {
		in.Close() // the sender need not go on
	}
	if sendErr := <-sent; err != nil || sendErr != nil || c.n != size {
		t.Errorf("TCP: %d bytes of %d, send %v, receive %v", c.n, size, sendErr, err)
	}
}

func setOptions(t testing.TB, c *net.TCPConn, options []byte) {
	t.Helper()
	raw, err := c.SyscallConn()
	must(t, err)
	controlErr := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptString(int(fd), unix.IPPROTO_IP, unix.IP_OPTIONS, string(options))
	})
	must(t, errors.Join(controlErr, err))
}

// socket returns a UDP socket in a container.
func socket(t testing.TB, c *netlab.Container, o udpbatch.Options) *udpbatch.Conn {
	t.Helper()
	var s *udpbatch.Conn
	inside(t, c.Namespace.Namespace(), func() (err error) {
		s, err = udpbatch.Listen(netip.AddrPortFrom(c.Addr().Addr(), 0), o)
		return err
	})
	t.Cleanup(func() { s.Close() })
	return s
}

// transferUDP sends batches of datagrams of each of the sizes, and compares what
// arrives, in what order.
func transferUDP(t testing.TB, from, to *netlab.Container, batched int, sizes ...int) {
	t.Helper()
	out, in := socket(t, from, udpbatch.Options{}), socket(t, to, udpbatch.Options{NoGRO: true})
	batch, received := udpbatch.NewSendBatch(1), udpbatch.NewReceiveBatch(64, make([]byte, 64*(64<<10)))
	if !out.Features().Segment {
		batched = 1
	}
	seq := uint32(0)
	for _, size := range sizes {
		n := max(1, min(batched, udpbatch.MaxPayload/size))
		b := make([]byte, n*size)
		copy(b, block)
		for i := range n {
			binary.BigEndian.PutUint32(b[i*size:], seq+uint32(i))
		}
		segment := 0
		if n > 1 {
			segment = size
		}
		batch.Reset()
		batch.Add(in.LocalAddr(), appendPiece(nil, b), segment)
		if errno := out.Send(batch); errno != 0 || len(batch.Refused()) > 0 {
			t.Fatalf("send %d datagrams of %d bytes: %v, refused %v", n, size, errno, batch.Refused())
		}
		deadline := time.Now().Add(10 * time.Second)
		for want := b; len(want) > 0; {
			if errno := in.Receive(received); errno == unix.EAGAIN {
				if time.Now().After(deadline) {
					t.Fatalf("%d datagrams of %d bytes: the last %d bytes did not arrive", n, size, len(want))
				}
				time.Sleep(time.Millisecond)
				continue
			} else if errno != 0 {
				t.Fatal(errno)
			}
			for i := range received.Len() {
				if m := received.Message(i); !bytes.Equal(m.Payload, want[:size]) {
					t.Fatalf("got %d bytes that begin with % x, want datagram % x of %d bytes",
						len(m.Payload), m.Payload[:min(4, len(m.Payload))], want[:4], size)
				}
				want = want[size:]
			}
		}
		seq += uint32(n)
	}
}

// oddSizes are of UDP payloads: around the least, the most, and in between. The
// last ones are sent in fragments.
var oddSizes = []int{4, 5, 17, 64, 65, 500, 501, 999, 1443, 1444, 1445, 2000, 9000, 65000}

// traffic is some of everything, both ways.
func traffic(t testing.TB, a, b *side, bytes int) {
	t.Helper()
	for _, pair := range [][2]*netlab.Container{{a.c, b.c}, {b.c, a.c}} {
		from, to := pair[0], pair[1]
		address := to.Addr().Addr().String()
		for _, args := range [][]string{
			{"-s", "0"}, {"-s", "1", "-p", "a5"}, {"-s", "1444", "-M", "do"}, {"-s", "4000"},
			{"-R"}, // records the route in an IP option
		} {
			if err := from.Run("ping", append(args, "-q", "-c1", "-W5", address)...); err != nil {
				t.Fatalf("%v\n%s\n%s", err, a.report(), b.report())
			}
		}
		transferTCP(t, from, to, bytes)
		transferTCP(t, from, to, 1)
		transferUDP(t, from, to, 64, oddSizes[:10]...) // a batch has no fragments
		transferUDP(t, from, to, 1, oddSizes...)
	}
}
