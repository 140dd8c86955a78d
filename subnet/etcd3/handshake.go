package etcd3

import (
	"context"
	"crypto/tls"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// handshake is TLS, or nothing, and tells the member why it failed.
type handshake struct {
	credentials.TransportCredentials
	member *member
}

func newHandshake(m *member, secure bool, config *tls.Config) credentials.TransportCredentials {
	if !secure {
		return insecure.NewCredentials()
	}
	return handshake{credentials.NewTLS(config.Clone()), m}
}

// ClientHandshake implements credentials.TransportCredentials.
func (h handshake) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, info, err := h.TransportCredentials.ClientHandshake(ctx, authority, raw)
	return c, info, h.member.note(err)
}

// Clone implements credentials.TransportCredentials.
func (h handshake) Clone() credentials.TransportCredentials {
	return handshake{h.TransportCredentials.Clone(), h.member}
}
