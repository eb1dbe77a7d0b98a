package blob

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// hanging is a server that takes requests and never answers them.
func hanging(t *testing.T) *httptest.Server {
	t.Helper()
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(func() {
		close(release)
		server.Close()
	})
	return server
}

// operations are all that a store can be asked.
func operations(s Store) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"put": func(ctx context.Context) error { return s.Put(ctx, "a/b", strings.NewReader("x"), 1) },
		"put large": func(ctx context.Context) error {
			return s.Put(ctx, "a/b", bytes.NewReader(noise(2*partSize)), 2*partSize)
		},
		"open":   func(ctx context.Context) error { _, err := s.Open(ctx, "a/b"); return err },
		"delete": func(ctx context.Context) error { return s.Delete(ctx, "a/b") },
	}
}

func TestAStoreThatIsAwayIsAnErrorAndNoAbsence(t *testing.T) {
	server := s3Server(t)
	s := open(t, s3URL(server.URL, ""))
	server.Close()
	for name, operation := range operations(s) {
		if err := operation(t.Context()); err == nil || errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), "not-a-secret") || strings.Contains(err.Error(), "AKIAEXAMPLE") {
			t.Errorf("%s tells a credential: %v", name, err)
		}
	}
}

func TestAStoreThatHangsIsLeftWithTheContext(t *testing.T) {
	s := open(t, s3URL(hanging(t).URL, ""))
	for name, operation := range operations(s) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if err := operation(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
}

func TestAStoreThatHangsIsLeftAfterAWhile(t *testing.T) {
	s := open(t, s3URL(hanging(t).URL, "")).(*bucket)
	s.patience = 20 * time.Millisecond
	for name, operation := range operations(s) {
		if name == "put large" { // may take as long as its bytes at the slowest
			continue
		}
		if err := operation(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// through is a server before another, which can be told to behave otherwise.
func through(t *testing.T, other *httptest.Server) (server *httptest.Server, instead *atomic.Pointer[http.HandlerFunc]) {
	t.Helper()
	instead = &atomic.Pointer[http.HandlerFunc]{}
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := instead.Load(); h != nil {
			(*h)(w, r)
			return
		}
		other.Config.Handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server, instead
}

func TestABlobThatStopsComingIsAnErrorNotAnEnd(t *testing.T) {
	server, instead := through(t, s3Server(t))
	s := open(t, s3URL(server.URL, ""))
	want := noise(2 * readAhead)
	put(t, s, "a/b", want)
	o, err := s.Open(t.Context(), "a/b")
	if err != nil {
		t.Fatal(err)
	}
	short := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", r.Header.Get("If-Match"))
		w.Header().Set("Last-Modified", time.Unix(0, 0).UTC().Format(http.TimeFormat))
		w.Header().Set("Content-Length", "100000")
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(want[:1000])
	})
	instead.Store(&short)
	b := make([]byte, 50_000)
	if n, err := o.ReadAt(b, 0); err == nil || errors.Is(err, io.EOF) && n == 0 {
		t.Errorf("%d bytes, %v", n, err)
	}
	instead.Store(nil) // the server is itself again, and so is the blob
	if n, err := o.ReadAt(b, 0); n != len(b) || err != nil || !bytes.Equal(b, want[:n]) {
		t.Errorf("%d bytes, %v", n, err)
	}
	if err := o.Close(); err != nil {
		t.Error(err)
	}
	if _, err := o.ReadAt(b, readAhead+1000); !errors.Is(err, context.Canceled) {
		t.Errorf("read after Close: %v", err)
	}
}

func TestReadingOnAsksSeldom(t *testing.T) {
	server := s3Server(t)
	var requests atomic.Int32
	counted := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			requests.Add(1)
		}
		server.Config.Handler.ServeHTTP(w, r)
	}))
	t.Cleanup(counted.Close)
	s := open(t, s3URL(counted.URL, ""))
	want := noise(8 * readAhead)
	put(t, s, "a/b", want)
	o, err := s.Open(t.Context(), "a/b")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = o.Close() }()
	var got []byte
	for chunk := make([]byte, 64<<10); len(got) < len(want); {
		n, err := o.ReadAt(chunk, int64(len(got)))
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		got = append(got, chunk[:n]...)
	}
	if !bytes.Equal(got, want) || requests.Load() != 8 {
		t.Errorf("right: %v, in %d requests", bytes.Equal(got, want), requests.Load())
	}
}
