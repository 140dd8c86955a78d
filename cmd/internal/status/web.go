package status

import (
	"embed"
	"net/http"
)

//go:embed page
//nolint:gochecknoglobals // the compiler fills it in
var pageFiles embed.FS

// policy lets the page load its own files, and nothing else; no other page can frame it.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// webPage answers with a file of the page that people look at.
func webPage(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("Referrer-Policy", "no-referrer")
		http.ServeFileFS(w, r, pageFiles, "page/"+name)
	}
}
