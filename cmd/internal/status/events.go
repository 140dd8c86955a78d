package status

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// mostStreams is the number of clients of a server that events are sent to as they happen:
// others need connections, too.
const mostStreams = 4

// streamEvents returns what answers with an event a line, as they happen, until the client goes
// or the server ends. The parameter "after" is the number of the last event that the client
// knows. What a slow client misses is what is not remembered any more; the numbers show it.
func streamEvents(b *Board, ending <-chan struct{}) http.HandlerFunc {
	streams := make(chan struct{}, mostStreams)
	return func(w http.ResponseWriter, r *http.Request) {
		var after uint64
		if text := r.URL.Query().Get("after"); text != "" {
			var err error
			if after, err = strconv.ParseUint(text, 10, 64); err != nil {
				http.Error(w, "after= is not a whole number", http.StatusBadRequest)
				return
			}
		}
		select {
		case streams <- struct{}{}:
			defer func() { <-streams }()
		default:
			http.Error(w, strconv.Itoa(mostStreams)+" others watch already", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/x-ndjson")
		connection := http.NewResponseController(w)
		// Or the server would take a client that has nothing more to ask for one that is gone.
		if connection.SetReadDeadline(time.Time{}) != nil {
			return
		}
		lines := json.NewEncoder(w)
		for {
			events, changed := b.EventsAfter(after)
			if connection.SetWriteDeadline(time.Now().Add(requestTime)) != nil {
				return
			}
			for _, e := range events {
				after = e.Seq
				if lines.Encode(e) != nil {
					return
				}
			}
			if connection.Flush() != nil { // the header, too
				return
			}
			select {
			case <-changed:
			case <-r.Context().Done():
				return
			case <-ending:
				return
			}
		}
	}
}
