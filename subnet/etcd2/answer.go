package etcd2

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"flanneld/subnet/etcd"
)

var (
	errServer  = errors.New("the server could not do it") // the client takes each such answer for the lack of a leader
	errNoV2    = errors.New("there is no etcd v2 API")    // 404, and no JSON
	errNotEtcd = errors.New("the answer is not etcd's")
	errTooLong = errors.New("the answer is too long: is there more below --etcd-prefix than leases?")
)

// maxBody bounds what is read of an answer, in bytes: the client keeps it several times
// over. A lease has some 400 in a listing, so that there may be 80,000.
const maxBody = 32 << 20

// answer is the body of one. It fails where the client would go wrong: that tries to
// understand what is no JSON, and repeats a wait whose answer is empty at once, for ever.
type answer struct {
	io.ReadCloser
	endpoint string
	status   int
	wait     bool
	begun    bool  // something but blanks was read
	left     int64 // bytes that may still be read
}

func (a *answer) Read(p []byte) (int, error) {
	// One more than may be read shows that there is more.
	if int64(len(p)) > a.left+1 {
		p = p[:a.left+1]
	}
	n, err := a.ReadCloser.Read(p)
	if int64(n) > a.left {
		n, err = int(a.left), errTooLong
	}
	a.left -= int64(n)
	if text := bytes.TrimLeft(p[:n], " \t\r\n"); !a.begun && len(text) > 0 {
		a.begun = true
		switch {
		case text[0] == '{':
		case a.status == http.StatusNotFound:
			err = errNoV2
		default:
			err = errNotEtcd
		}
	}
	if err == io.EOF && a.wait && !a.begun {
		err = errEmpty
	}
	if err != nil && err != io.EOF {
		err = &etcd.EndpointError{Endpoint: a.endpoint, Err: err}
	}
	return n, err
}

// maxText bounds what is read of a refusal.
const maxText = 4096

// refusal reads what an answer of status 5xx says.
func refusal(resp *http.Response) error {
	text := fmt.Sprintf("it answers %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	var said struct{ Message, Cause string } // not in a proxy's page
	_ = json.NewDecoder(io.LimitReader(resp.Body, maxText)).Decode(&said)
	if said.Cause != "" {
		said.Message += " (" + said.Cause + ")"
	}
	if said.Message != "" {
		text += ": " + etcd.Line(said.Message)
	}
	return &etcd.Failure{Text: text, Causes: []error{errServer}}
}
