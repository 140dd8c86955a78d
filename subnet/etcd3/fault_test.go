package etcd3

import (
	"context"
	"strings"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// faults is what the network does to requests whose method ends with a name.
type faults struct {
	method string
	lose   atomic.Int32 // so many are done, and their answers lost
	refuse atomic.Int32 // so many are lost on their way
	keep   atomic.Int32 // so many are not answered, and done when somebody takes them from kept
	kept   chan func() error
	sent   atomic.Int32 // all
}

func newFaults(method string) *faults {
	return &faults{method: method, kept: make(chan func() error, 10)}
}

func (f *faults) option() grpc.DialOption {
	return grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, request, answer any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, o ...grpc.CallOption) error {
		if !strings.HasSuffix(method, f.method) {
			return invoke(ctx, method, request, answer, conn, o...)
		}
		f.sent.Add(1)
		lost := status.Error(codes.Unavailable, "error reading from server: connection reset by peer")
		switch {
		case f.refuse.Add(-1) >= 0:
			return lost
		case f.lose.Add(-1) >= 0:
			if err := invoke(ctx, method, request, answer, conn, o...); err != nil {
				return err
			}
			return lost
		case f.keep.Add(-1) >= 0:
			md, _ := metadata.FromOutgoingContext(ctx)
			late := metadata.NewOutgoingContext(context.Background(), md)
			f.kept <- func() error {
				c, err := grpc.NewClient(conn.Target(), grpc.WithTransportCredentials(insecure.NewCredentials()))
				if err != nil {
					return err
				}
				defer c.Close()
				return c.Invoke(late, method, request, answer)
			}
			return lost
		}
		return invoke(ctx, method, request, answer, conn, o...)
	})
}
