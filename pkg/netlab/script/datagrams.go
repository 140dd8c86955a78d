package script

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	datagramPort  = "7400"
	datagramCount = 400
)

// The environment variables that tell the two processes of datagramsCommand what to do.
const (
	datagramsToVariable = "NETLAB_SCRIPT_DATAGRAMS_TO" // addresses, with commas between
	datagramsAtVariable = "NETLAB_SCRIPT_DATAGRAMS_AT" // port
)

// datagramsCommand sends UDP datagrams of all sizes, some larger than the wire takes, from
// container to container. It fails if one comes that is not as it was sent, or if more than a
// tenth of those from one container to another are lost.
func datagramsCommand(s *Script, args []string) (string, error) {
	pairs, err := pairs(s, args)
	if err != nil {
		return "", err
	}
	self, err := os.Executable()
	if err != nil {
		return "", errScript{err}
	}
	targets := make(map[*Node][]string)
	receivers := make(map[*Node]*Process)
	for _, pair := range pairs {
		targets[pair[0]] = append(targets[pair[0]], net.JoinHostPort(pair[1].web.Addr().Addr().String(), datagramPort))
		if receivers[pair[1]] == nil {
			receivers[pair[1]] = s.Start(pair[1].web.Namespace, []string{datagramsAtVariable + "=" + datagramPort}, self)
			if err := awaitListener(s, pair[1], datagramPort); err != nil {
				return "", err
			}
		}
	}
	for from, to := range targets {
		cmd := from.web.Command(s.ctx, "env", datagramsToVariable+"="+strings.Join(to, ","), self)
		if out, err := s.Output(cmd); err != nil {
			return "", fmt.Errorf("from %s: %w: %s", from.Name(), err, out)
		}
	}
	for to, p := range receivers {
		p.Kill()
		if p.Log.String() != "" {
			return "", fmt.Errorf("to %s: %s", to.Name(), p.Log.String())
		}
	}
	return "", nil
}

// datagramOf returns the n-th datagram: its number, and what follows from it.
func datagramOf(n uint32) []byte {
	r := rand.New(rand.NewPCG(uint64(n), 1))
	size := 8 + r.IntN(1400)
	if n%16 == 0 {
		size = 1500 + r.IntN(3000) // in fragments
	}
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	binary.BigEndian.PutUint32(b, n)
	return b
}

// sendDatagrams sends to each address, and asks each by TCP how many have come.
func sendDatagrams(addresses string) error {
	for _, address := range strings.Split(addresses, ",") {
		control, err := net.DialTimeout("tcp", address, 5*time.Second)
		if err != nil {
			return err
		}
		c, err := net.Dial("udp", address)
		if err != nil {
			return err
		}
		for n := range uint32(datagramCount) {
			if _, err := c.Write(datagramOf(n)); err != nil {
				return err
			}
			if n%8 == 7 {
				time.Sleep(time.Millisecond) // or a receiver's buffer is what is tested
			}
		}
		time.Sleep(200 * time.Millisecond)
		if _, err := fmt.Fprintln(control, c.LocalAddr()); err != nil {
			return err
		}
		var came int
		_ = control.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := fmt.Fscan(control, &came); err != nil {
			return err
		}
		if came < datagramCount*9/10 {
			return fmt.Errorf("%d of %d datagrams came to %s", came, datagramCount, address)
		}
	}
	return nil
}

// receiveDatagrams counts those of each sender and tells who asks by TCP, until one is wrong.
func receiveDatagrams(port string) error {
	control, err := net.Listen("tcp", ":"+port)
	if err != nil {
		return err
	}
	conn, err := net.ListenPacket("udp", ":"+port)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	came := make(map[string]int)
	go func() {
		for c, err := control.Accept(); err == nil; c, err = control.Accept() {
			go func() {
				var from string
				_, _ = fmt.Fscan(c, &from)
				mu.Lock()
				defer mu.Unlock()
				_, _ = fmt.Fprintln(c, came[from])
			}()
		}
	}()
	b := make([]byte, 1<<16)
	for {
		n, from, err := conn.ReadFrom(b)
		if err != nil {
			return err
		}
		if n < 4 || !bytes.Equal(b[:n], datagramOf(binary.BigEndian.Uint32(b))) {
			return fmt.Errorf("a datagram of %d bytes from %s is not as it was sent", n, from)
		}
		mu.Lock()
		came[from.String()]++
		mu.Unlock()
	}
}
