package blob

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

const (
	partSize  = 5 << 20   // of a large blob; the least that S3 takes, held in memory once a Put
	readAhead = 256 << 10 // bytes of one request to read
	slowest   = 64 << 10  // bytes a second, below which a store counts as hanging
)

// bucket is a Store in S3.
type bucket struct {
	core      *minio.Core
	transport *http.Transport
	name      string
	prefix    string
	// patience is how long an answer may take, beside the time for the bytes.
	patience time.Duration
}

func openS3(at location, getenv func(string) string) (*bucket, error) {
	id, secret := getenv("AWS_ACCESS_KEY_ID"), getenv("AWS_SECRET_ACCESS_KEY")
	if id == "" || secret == "" {
		return nil, errors.New("the blob store in S3 needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	}
	region := at.region
	if region == "" {
		region = "us-east-1" // what S3-compatible servers answer to; a set region spares asking for it
	}
	b := &bucket{name: at.bucket, prefix: at.prefix, patience: 30 * time.Second}
	b.transport = &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
		MaxIdleConnsPerHost:   8,
		IdleConnTimeout:       time.Minute,
		DisableCompression:    true, // the bytes are asked for by place
	}
	var err error
	b.core, err = minio.NewCore(at.endpoint.Host, &minio.Options{
		Creds:        credentials.NewStaticV4(id, secret, ""),
		Secure:       at.endpoint.Scheme == "https",
		Transport:    b.transport,
		Region:       region,
		BucketLookup: minio.BucketLookupPath,
		MaxRetries:   1, // whoever calls has a plan for that
	})
	if err != nil {
		return nil, errors.New("the blob store's endpoint is none that S3 can be reached at")
	}
	return b, nil
}

// Close gives up idle connections. The store can still be used.
func (b *bucket) Close() error {
	b.transport.CloseIdleConnections()
	return nil
}

func (b *bucket) object(key string) (string, error) {
	if err := CheckKey(key); err != nil {
		return "", err
	}
	if b.prefix == "" {
		return key, nil
	}
	return b.prefix + "/" + key, nil
}

// within bounds a request that moves so many bytes.
func (b *bucket) within(ctx context.Context, bytes int64) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, b.patience+time.Duration(bytes/slowest)*time.Second)
}

func (b *bucket) Put(ctx context.Context, key string, r io.Reader, size int64) error {
	name, err := b.object(key)
	if err != nil {
		return err
	}
	if size <= 0 {
		return errEmpty
	}
	ctx, cancel := b.within(ctx, size)
	defer cancel()
	exact := &exactReader{r: r, left: size, size: size}
	_, err = b.core.Client.PutObject(ctx, b.name, name, exact, size, minio.PutObjectOptions{
		ContentType: "application/octet-stream", PartSize: partSize, NumThreads: 1,
		DisableContentSha256: true}) // a hash beside the transport's check would only cost: what is stored is sealed
	if exact.wrong != nil { // of which the server's complaint is only the echo
		err = exact.wrong
	}
	if err != nil {
		return fmt.Errorf("store blob: %w", err)
	}
	return nil
}

// exactReader fails, instead of ending, when there are fewer or more bytes than
// announced: so a blob of the wrong length is never completed.
type exactReader struct {
	r          io.Reader
	left, size int64
	wrong      error
}

func (e *exactReader) Read(p []byte) (int, error) {
	if e.wrong != nil {
		return 0, e.wrong
	}
	n, err := e.r.Read(p[:min(int64(len(p)), e.left+1)])
	switch {
	case int64(n) > e.left:
		n, e.wrong = 0, wrongSize(e.size+1, e.size)
		return n, e.wrong
	case errors.Is(err, io.EOF) && int64(n) < e.left:
		e.wrong = wrongSize(e.size-e.left+int64(n), e.size)
		return n, e.wrong
	}
	e.left -= int64(n)
	if e.left == 0 && err == nil && len(p) > 0 {
		if err = e.atEnd(); e.wrong != nil {
			n = 0 // a reader that got all it wanted would not look at the error
		}
	}
	return n, err
}

// atEnd makes sure that nothing follows the last byte.
func (e *exactReader) atEnd() error {
	var one [1]byte
	if n, _ := io.ReadFull(e.r, one[:]); n > 0 {
		e.wrong = wrongSize(e.size+1, e.size)
		return e.wrong
	}
	return io.EOF
}

func (b *bucket) Open(ctx context.Context, key string) (Object, error) {
	name, err := b.object(key)
	if err != nil {
		return nil, err
	}
	within, cancel := b.within(ctx, 0)
	defer cancel()
	info, err := b.core.Client.StatObject(within, b.name, name, minio.StatObjectOptions{})
	if missing(err) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("open blob: %w", err)
	}
	ctx, end := context.WithCancel(ctx)
	return &s3Object{ctx: ctx, end: end, bucket: b, name: name, tag: info.ETag, size: info.Size}, nil
}

// missing tells the answers for what is not there.
func missing(err error) bool {
	if err == nil {
		return false
	}
	answer := minio.ToErrorResponse(err)
	return answer.Code == minio.NoSuchKey || answer.Code == "NotFound" && answer.StatusCode == http.StatusNotFound
}

func (b *bucket) Delete(ctx context.Context, key string) error {
	name, err := b.object(key)
	if err != nil {
		return err
	}
	ctx, cancel := b.within(ctx, 0)
	defer cancel()
	if err := b.core.RemoveObject(ctx, b.name, name, minio.RemoveObjectOptions{}); err != nil && !missing(err) {
		return fmt.Errorf("delete blob: %w", err)
	}
	return nil
}

// s3Object reads by ranges, and a little more than was asked for: who plays a
// recording asks for the next bytes next.
type s3Object struct {
	ctx    context.Context // of Open; io.ReaderAt has no room for one
	end    context.CancelFunc
	bucket *bucket
	name   string
	tag    string // of the version that was opened, so that two are never mixed
	size   int64

	mu   sync.Mutex
	have []byte // bytes that were read ahead
	at   int64  // where they stand
}

func (o *s3Object) Size() int64 { return o.size }

func (o *s3Object) Close() error {
	o.end()
	return nil
}

func (o *s3Object) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("read blob: before its beginning")
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for n < len(p) {
		at := off + int64(n)
		if at >= o.size {
			return n, io.EOF
		}
		if at < o.at || at >= o.at+int64(len(o.have)) {
			if err := o.fetch(at, int64(len(p)-n)); err != nil {
				return n, fmt.Errorf("read blob: %w", err)
			}
		}
		n += copy(p[n:], o.have[at-o.at:])
	}
	return n, nil
}

// fetch reads at least one byte from at on. The caller holds mu.
func (o *s3Object) fetch(at, want int64) error {
	size := min(max(min(want, 4*readAhead), readAhead), o.size-at)
	ctx, cancel := o.bucket.within(o.ctx, size)
	defer cancel()
	var opts minio.GetObjectOptions
	if err := opts.SetRange(at, at+size-1); err != nil {
		return err
	}
	if o.tag != "" {
		if err := opts.SetMatchETag(o.tag); err != nil {
			return err
		}
	}
	body, _, _, err := o.bucket.core.GetObject(ctx, o.bucket.name, o.name, opts)
	if missing(err) {
		return ErrNotFound
	}
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	if int64(cap(o.have)) < size {
		o.have = make([]byte, size)
	}
	n, err := io.ReadFull(body, o.have[:size])
	o.have, o.at = o.have[:n], at
	if err != nil {
		o.have = o.have[:0]
	}
	return err
}
