package blob

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// environment gives credentials for S3.
func environment(name string) string {
	return map[string]string{"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "not-a-secret"}[name]
}

// s3Server is an S3 written by others, in memory, with one bucket.
func s3Server(t testing.TB) *httptest.Server {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket("tandem"); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(server.Close)
	return server
}

func s3URL(endpoint, prefix string) string {
	return "s3://tandem/" + prefix + "?region=eu-west-1&endpoint=" + url.QueryEscape(endpoint)
}

func open(t testing.TB, rawURL string) Store {
	t.Helper()
	s, err := Open(rawURL, environment)
	if err != nil {
		t.Fatal(err)
	}
	if c, ok := s.(io.Closer); ok {
		t.Cleanup(func() { _ = c.Close() })
	}
	return s
}

// withEachStore runs a test with both kinds.
func withEachStore(t *testing.T, test func(t *testing.T, s Store)) {
	t.Helper()
	t.Run("folder", func(t *testing.T) { test(t, open(t, "file:"+filepath.Join(t.TempDir(), "blobs"))) })
	t.Run("S3", func(t *testing.T) { test(t, open(t, s3URL(s3Server(t).URL, "recordings/eu"))) })
	t.Run("S3 without a prefix", func(t *testing.T) { test(t, open(t, s3URL(s3Server(t).URL, ""))) })
}

func noise(n int) []byte {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], rand.Uint64())
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(seed).Read(b)
	return b
}

func put(t *testing.T, s Store, key string, b []byte) {
	t.Helper()
	// Only an io.Reader: what is stored comes out of a cipher and cannot be rewound.
	if err := s.Put(t.Context(), key, io.MultiReader(bytes.NewReader(b)), int64(len(b))); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, s Store, key string) []byte {
	t.Helper()
	o, err := s.Open(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	}()
	b, err := io.ReadAll(io.NewSectionReader(o, 0, o.Size()))
	if err != nil || int64(len(b)) != o.Size() {
		t.Fatalf("%d of %d bytes: %v", len(b), o.Size(), err)
	}
	return b
}

func absent(t *testing.T, s Store, key string) {
	t.Helper()
	if _, err := s.Open(t.Context(), key); !errors.Is(err, ErrNotFound) {
		t.Errorf("%s: %v, want ErrNotFound", key, err)
	}
}

func TestWhatIsPutIsRead(t *testing.T) {
	withEachStore(t, func(t *testing.T, s Store) {
		for _, size := range []int{1, 4096, readAhead, readAhead + 1, partSize, 2 * partSize, 2*partSize + 17} {
			key, want := fmt.Sprintf("acme/call_%d.wav.age", size), noise(size)
			put(t, s, key, want)
			if !bytes.Equal(get(t, s, key), want) {
				t.Errorf("%d bytes came back as others", size)
			}
		}
	})
}

func TestABlobIsReadAtAnyPlaceByManyAtOnce(t *testing.T) {
	withEachStore(t, func(t *testing.T, s Store) {
		want := noise(3*readAhead + 100)
		put(t, s, "a/b", want)
		o, err := s.Open(t.Context(), "a/b")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = o.Close() }()
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 20 {
					off, n := rand.IntN(len(want)), rand.IntN(100_000)
					b := make([]byte, n)
					got, err := o.ReadAt(b, int64(off))
					end := min(off+n, len(want))
					if (got < n) != errors.Is(err, io.EOF) && end != len(want) || !bytes.Equal(b[:got], want[off:end]) {
						t.Errorf("%d bytes at %d: %d, %v", n, off, got, err)
					}
				}
			})
		}
		wg.Wait()
		if n, err := o.ReadAt(make([]byte, 8), int64(len(want))); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("behind the end: %d, %v", n, err)
		}
		if _, err := o.ReadAt(make([]byte, 8), -1); err == nil {
			t.Error("a read before the beginning succeeded")
		}
	})
}

func TestPutMayBeRepeatedAndReplaces(t *testing.T) {
	withEachStore(t, func(t *testing.T, s Store) {
		for _, text := range []string{"first and long", "first and long", "second"} {
			put(t, s, "x/y.z", []byte(text))
			if got := get(t, s, "x/y.z"); string(got) != text {
				t.Errorf("%q, want %q", got, text)
			}
		}
	})
}

func TestWhatIsDeletedIsGoneAndMayBeDeletedAgain(t *testing.T) {
	withEachStore(t, func(t *testing.T, s Store) {
		put(t, s, "x/y", []byte("here"))
		put(t, s, "x/yz", []byte("neighbour"))
		for range 2 {
			if err := s.Delete(t.Context(), "x/y"); err != nil {
				t.Fatal(err)
			}
			absent(t, s, "x/y")
		}
		if err := s.Delete(t.Context(), "never/was"); err != nil {
			t.Error(err)
		}
		absent(t, s, "x") // what others lie under is no blob
		if err := s.Delete(t.Context(), "x"); err != nil {
			t.Error(err)
		}
		if got := get(t, s, "x/yz"); string(got) != "neighbour" {
			t.Errorf("the neighbour is %q", got)
		}
	})
}

// breaking fails in its middle.
type breaking struct{ left int }

var errBroken = errors.New("broken off")

func (b *breaking) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, errBroken
	}
	n := min(len(p), b.left)
	b.left -= n
	return n, nil
}

func TestABlobIsThereWholeOrNotAtAll(t *testing.T) {
	withEachStore(t, func(t *testing.T, s Store) {
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		for _, size := range []int64{100, 2 * partSize} {
			for name, try := range map[string]func(key string) error{
				"broken off": func(key string) error { return s.Put(t.Context(), key, &breaking{int(size / 2)}, size) },
				"too short": func(key string) error {
					return s.Put(t.Context(), key, bytes.NewReader(noise(int(size-1))), size)
				},
				"too long": func(key string) error {
					return s.Put(t.Context(), key, bytes.NewReader(noise(int(size+1))), size)
				},
				"empty": func(key string) error { return s.Put(t.Context(), key, bytes.NewReader(nil), 0) },
				"cancelled": func(key string) error {
					return s.Put(cancelled, key, bytes.NewReader(noise(int(size))), size)
				},
			} {
				if err := try("new/one"); err == nil {
					t.Errorf("%s, %d bytes: no error", name, size)
				}
				absent(t, s, "new/one")
				put(t, s, "old/one", []byte("kept"))
				if err := try("old/one"); err == nil {
					t.Errorf("%s, %d bytes: no error", name, size)
				}
				if got := get(t, s, "old/one"); string(got) != "kept" {
					t.Errorf("%s, %d bytes: what was there became %d bytes", name, size, len(got))
				}
			}
		}
	})
}

func TestKeysThatLeadElsewhereAreRefused(t *testing.T) {
	withEachStore(t, func(t *testing.T, s Store) {
		for _, key := range []string{"", "/", "a/", "/a", "a//b", "..", "../a", "a/../b", ".", "a/.", ".unfinished/x", "a b",
			"a\\b", "a\x00", "ä", "a?b", "+123", strings.Repeat("a", 201), strings.Repeat("a/", 300) + "a"} {
			if err := s.Put(t.Context(), key, strings.NewReader("x"), 1); !errors.Is(err, ErrKey) {
				t.Errorf("put %q: %v", key, err)
			}
			if _, err := s.Open(t.Context(), key); !errors.Is(err, ErrKey) {
				t.Errorf("open %q: %v", key, err)
			}
			if err := s.Delete(t.Context(), key); !errors.Is(err, ErrKey) {
				t.Errorf("delete %q: %v", key, err)
			}
		}
	})
}

func TestOnlyItsUserReadsTheFolder(t *testing.T) {
	root := filepath.Join(t.TempDir(), "blobs")
	put(t, open(t, "file://"+root), "acme/call", []byte("x"))
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s may be read by others: %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestNothingUnfinishedStays(t *testing.T) {
	root := t.TempDir()
	s := open(t, "file:"+root)
	if err := s.Put(t.Context(), "a", &breaking{10}, 100); !errors.Is(err, errBroken) {
		t.Errorf("the reader's error became %v", err)
	}
	folder := filepath.Join(root, unfinished)
	if entries, err := os.ReadDir(folder); err != nil || len(entries) != 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
	for name, age := range map[string]time.Duration{"put-old": 2 * abandoned, "put-new": 0} {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, time.Time{}, time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	open(t, "file:"+root)
	if entries, err := os.ReadDir(folder); err != nil || len(entries) != 1 || entries[0].Name() != "put-new" {
		t.Errorf("of an old and a new file stay %v, %v", entries, err)
	}
}

func TestURLsThatSayTooLittleOrTooMuchAreRefused(t *testing.T) {
	t.Chdir(t.TempDir())
	const secret = "hunter2"
	for _, rawURL := range []string{"", "file:", "file://", "ftp://host/x", "/just/a/path", "s3://",
		"s3://bucket", "s3://bucket?endpoint=host:9000", "s3://bucket?endpoint=ftp://host", "s3://bucket?endpoint=http://host/path",
		"s3://bucket/a//b?endpoint=http://host", "s3://bucket/../x?endpoint=http://host",
		"s3://bucket?endpoint=http://host&colour=red", "s3://bucket?endpoint=http://a&endpoint=http://b",
		"s3://me:" + secret + "@bucket?endpoint=http://host", "s3://bucket?endpoint=http://me:" + secret + "@host",
		"s3://" + secret + "\x7f", "s3://bucket?endpoint=http://host;" + secret} {
		s, err := Open(rawURL, environment)
		if err == nil {
			t.Errorf("%q: %v", rawURL, s)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("%q is quoted: %v", rawURL, err)
		}
	}
	for _, missing := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		without := func(name string) string {
			if name == missing {
				return ""
			}
			return environment(name)
		}
		if _, err := Open(s3URL("http://127.0.0.1:9", ""), without); err == nil || !strings.Contains(err.Error(), missing) {
			t.Errorf("without %s: %v", missing, err)
		}
	}
}

func FuzzCheckKey(f *testing.F) {
	for _, key := range []string{"a/b.wav", "..", "a/../b", ".x", "", "a//b"} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if CheckKey(key) != nil {
			return
		}
		if !filepath.IsLocal(key) || filepath.ToSlash(filepath.Clean(key)) != key {
			t.Errorf("%q is accepted and leads elsewhere", key)
		}
	})
}

// Settings are checked with Check, together with all other settings; what it takes
// must then be opened.
func TestWhatCheckTakesIsOpened(t *testing.T) {
	credentials := func(string) string { return "set" }
	for url, fine := range map[string]bool{
		"file:" + filepath.Join(t.TempDir(), "recordings"):                        true,
		"s3://bucket?endpoint=http://127.0.0.1:9000":                              true,
		"s3://bucket/?endpoint=https://s3.example/":                               true,
		"s3://my.bucket/a/b-c/d_e?region=x&endpoint=https%3A%2F%2Fs3.example%3A1": true,
		"s3://bucket":                                             false,
		"s3://bucket?endpoint=s3.example":                         false,
		"s3://bucket?endpoint=ftp://s3.example":                   false,
		"s3://bucket?endpoint=https://a:b@s3.example":             false,
		"s3://bucket?endpoint=https://s3.example/prefix":          false,
		"s3://bucket?endpoint=https://s3.example&secret=x":        false,
		"s3://bucket?endpoint=https://s3.example&endpoint=http:a": false,
		"s3://a:b@bucket?endpoint=https://s3.example":             false,
		"s3://?endpoint=https://s3.example":                       false,
		"s3://bucket/a//b?endpoint=https://s3.example":            false,
		"s3://bucket/.a?endpoint=https://s3.example":              false,
		"s3://bucket/a b?endpoint=https://s3.example":             false,
		"ftp://bucket": false,
	} {
		taken := Check(url)
		_, opened := Open(url, credentials)
		if (taken == nil) != fine || (opened == nil) != fine {
			t.Errorf("%s: Check says %v, Open %v", url, taken, opened)
		}
	}
}
