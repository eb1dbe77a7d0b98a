package contract

import (
	"bytes"
	"io"
	"net/http"
)

// Watch makes a transport whose answers are held to the document. broken is told
// of each that is not as documented, in a sentence with the operation, the
// status and the place, and never with a value; it is called by whoever asks or
// reads, so maybe by several goroutines at once. The answers are passed on as
// they came. nil is the default transport.
func (d *Document) Watch(base http.RoundTripper, broken func(error)) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	return &watched{d, base, broken}
}

// watched is a transport that looks at what comes through it.
type watched struct {
	document *Document
	base     http.RoundTripper
	broken   func(error)
}

// RoundTrip reads JSON and tables to their end before it gives them on; a body
// that breaks off is given on as far as it came, and its error with it.
func (w *watched) RoundTrip(r *http.Request) (*http.Response, error) {
	a, err := w.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	v, err := w.document.open(r, a)
	if err != nil {
		w.broken(err)
		return a, nil
	}
	switch {
	case v.whole():
		b, err := io.ReadAll(a.Body)
		closer := a.Body
		if err != nil {
			a.Body = readCloser{io.MultiReader(bytes.NewReader(b), failing{err}), closer}
			return a, nil
		}
		a.Body = readCloser{bytes.NewReader(b), closer}
		if err := v.body(b); err != nil {
			w.broken(err)
		}
	case v.media != nil && v.media.item != nil:
		a.Body = &events{ReadCloser: a.Body, v: v, broken: w.broken}
	}
	return a, nil
}

// CloseIdleConnections serves [http.Client.CloseIdleConnections].
func (w *watched) CloseIdleConnections() {
	if base, ok := w.base.(interface{ CloseIdleConnections() }); ok {
		base.CloseIdleConnections()
	}
}

// readCloser reads from one and closes the other.
type readCloser struct {
	io.Reader
	io.Closer
}

// failing gives only an error.
type failing struct{ err error }

// Read gives the error.
func (f failing) Read([]byte) (int, error) { return 0, f.err }
