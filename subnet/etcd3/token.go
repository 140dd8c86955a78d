package etcd3

import (
	"context"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/metadata"

	"flanneld/subnet/etcd"
)

// tokens has what etcd gives for the password, and asks for another when it has expired.
// Safe for concurrent use.
type tokens struct {
	access etcd.Access

	mu    sync.Mutex
	token string // empty: none, or etcd asks nobody for one
	known bool
}

// carry lets a request be made with a token. One that etcd refuses for its token was not
// done, and is made once more. A watch whose token has expired is told that it lacks the
// permission (etcd 3.4).
func (t *tokens) carry(ctx context.Context, m *member, request func(context.Context, *member) error) error {
	if t.access.Username == "" {
		return rpctypes.Error(request(ctx, m))
	}
	for again := false; ; again = true {
		token, err := t.get(ctx, m)
		if err != nil {
			return err
		}
		with := ctx
		if token != "" {
			with = metadata.AppendToOutgoingContext(ctx, rpctypes.TokenFieldNameGRPC, token)
		}
		err = rpctypes.Error(request(with, m))
		if again || !apiError(err, rpctypes.ErrInvalidAuthToken, rpctypes.ErrUserEmpty, rpctypes.ErrAuthOldRevision, rpctypes.ErrPermissionDenied) {
			return err
		}
		t.refuse(token)
	}
}

// get returns the token, after asking for it if there is none. When the password is
// refused, it is read again, and tried again if it has changed.
func (t *tokens) get(ctx context.Context, m *member) (string, error) {
	t.mu.Lock()
	token, known := t.token, t.known
	t.mu.Unlock()
	if known {
		return token, nil
	}
	password := t.access.Password()
	token, err := t.ask(ctx, m, password)
	if apiError(err, rpctypes.ErrAuthFailed) {
		t.access.Refused()
		if again := t.access.Password(); again != password {
			token, err = t.ask(ctx, m, again)
		}
	}
	if err != nil && !apiError(err, rpctypes.ErrAuthNotEnabled) {
		return "", err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.token, t.known = token, true
	return token, nil
}

func (t *tokens) ask(ctx context.Context, m *member, password string) (string, error) {
	r, err := m.auth.Authenticate(ctx, &pb.AuthenticateRequest{Name: t.access.Username, Password: password})
	return r.GetToken(), rpctypes.Error(err)
}

// refuse forgets a token, unless somebody has another one already.
func (t *tokens) refuse(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.token == token {
		t.token, t.known = "", false
	}
}
