package etcdproc

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// urls are where an etcd listens.
type urls struct{ clients, peers string }

// free picks two ports that are free just now.
func free() (urls, error) {
	var u urls
	for _, s := range []*string{&u.clients, &u.peers} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return urls{}, err
		}
		defer l.Close() // not before the other has one too
		*s = "http://" + l.Addr().String()
	}
	return u, nil
}

// earlier returns what keep wrote.
func earlier(dir string) (urls, error) {
	b, err := os.ReadFile(filepath.Join(dir, "urls"))
	if err != nil {
		return urls{}, err
	}
	clients, peers, ok := strings.Cut(string(b), " ")
	if !ok {
		return urls{}, fmt.Errorf("read URLs of etcd in %s: there is but one", dir)
	}
	return urls{clients, peers}, nil
}

// keep writes the URLs down for the next start in the directory.
func (u urls) keep(dir string) error {
	return os.WriteFile(filepath.Join(dir, "urls"), []byte(u.clients+" "+u.peers), 0o600)
}
