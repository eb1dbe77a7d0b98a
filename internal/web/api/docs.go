package api

import (
	"embed"
	"net/http"
	"sync"
)

//go:embed page
var page embed.FS

// docs serves the OpenAPI document, which is written when somebody first asks for it, and
// a page that reads it. The page is ours, whole: it loads nothing from elsewhere, which
// its policy enforces.
func (s *server) docs(document func() ([]byte, error)) {
	s.public("/openapi.json", "application/openapi+json", sync.OnceValues(document))
	for path, file := range map[string]struct{ name, media string }{
		"/docs":           {"page/docs.html", "text/html; charset=utf-8"},
		"/docs/page.js":   {"page/page.js", "text/javascript; charset=utf-8"},
		"/docs/style.css": {"page/style.css", "text/css; charset=utf-8"},
	} {
		s.public(path, file.media, func() ([]byte, error) { return page.ReadFile(file.name) })
	}
}

// public serves what does not change while the program runs.
func (s *server) public(path, media string, content func() ([]byte, error)) {
	s.mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
		exchangeOf(r.Context()).operation = "docs"
		body, err := content()
		if err != nil {
			s.refuse(w, r, err)
			return
		}
		h := w.Header()
		h.Set("Content-Type", media)
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		w.WriteHeader(http.StatusOK)
		_, _ = w.Write(body)
	})
}
