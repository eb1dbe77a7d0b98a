// Package blob keeps large things by key: recordings, in a local folder or in
// an S3-compatible store. It knows nothing of what it keeps; who puts something
// in has sealed it before. It is for whatever writes, plays and erases
// recordings.
package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ErrNotFound is what Open answers where there is nothing.
var ErrNotFound = errors.New("no such blob")

// errEmpty is the refusal of a blob without a byte.
var errEmpty = errors.New("store blob: it is empty")

// ErrKey is the refusal of a key that CheckKey does not accept.
var ErrKey = errors.New("not a key of a blob")

// Store keeps blobs. Its methods may be called from any goroutine, and end
// with their context, or by a time-out of their own when the store hangs.
type Store interface {
	// Put stores exactly size bytes of r under key, whole or not at all, in
	// place of what was there. It may be repeated, with a fresh r. Once it
	// says nil, the blob outlives a loss of power as far as the store can. It
	// refuses an empty blob, which not every server takes.
	Put(ctx context.Context, key string, r io.Reader, size int64) error
	// Open gives the blob to be read at any place, ErrNotFound if there is
	// none. ctx rules the reading too, until Close.
	Open(ctx context.Context, key string) (Object, error)
	// Delete takes the blob away; nil where there is none.
	Delete(ctx context.Context, key string) error
}

// Object is a blob that is being read. ReadAt may be called from several
// goroutines.
type Object interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// Open gives the store that a URL names: "file:PATH", a folder that is made if
// need be, or "s3://bucket/prefix?endpoint=https://host:port&region=…", which
// is addressed by path and whose credentials are AWS_ACCESS_KEY_ID and
// AWS_SECRET_ACCESS_KEY of getenv. It does not ask whether the bucket is there.
//
// It refuses what Check refuses.
func Open(rawURL string, getenv func(string) string) (Store, error) {
	if path, ok := strings.CutPrefix(rawURL, folderScheme); ok {
		return openFolder(strings.TrimPrefix(path, "//"))
	}
	at, err := locate(rawURL)
	if err != nil {
		return nil, fmt.Errorf("the URL of the blob store: %w", err)
	}
	return openS3(at, getenv)
}

// CheckKey accepts keys of one or more segments between slashes, each of
// letters, digits, dots, hyphens and underscores and not beginning with a dot,
// 512 bytes in all. The error does not quote the key.
func CheckKey(key string) error {
	if len(key) > 512 {
		return ErrKey
	}
	for segment := range strings.SplitSeq(key, "/") {
		if segment == "" || segment[0] == '.' || len(segment) > 200 || strings.ContainsFunc(segment, foreign) {
			return ErrKey
		}
	}
	return nil
}

// foreign tells characters that no key has.
func foreign(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_')
}
