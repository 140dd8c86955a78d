//go:build no_etcd3

package status

import (
	"log/slog"
	"net/http"
)

// metricsHandler says that there are none: a program without gRPC is for hosts that have
// little room.
func metricsHandler(*Board, *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "this flanneld was built without metrics (leave the build tag no_etcd3 out)", http.StatusNotFound)
	})
}
