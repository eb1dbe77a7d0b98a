// Package record writes what both sides of a call say to a stereo file, the
// caller left and the callee right, sealed for the call's tenant, and brings it
// to the blob store (ADR 0013).
//
// A Recording is a tap of the relay. It copies packets into memory of its own
// and does nothing else; a few workers, which all recordings share, put them
// onto one clock and write them to a spool file, and two finishers make the
// spool file into a WAV, store it and tell the Sink. Whatever is away or slow,
// disk, keys, blob store or database, costs the recording at worst, and the
// call nothing.
//
// The spool holds what is not stored yet, and is all that the next process
// needs to go on: Recover. It is for one process at a time.
package record

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"filippo.io/age"

	"tandem/internal/blob"
	"tandem/internal/masking"
)

const (
	drainEvery = 200 * time.Millisecond
	uploads    = 2              // at once
	longest    = 24 * time.Hour // of a recording; a WAV can hold 37 hours
	// unkeyed is how long a recording that has ended waits in memory for the
	// key that it could not be sealed without.
	unkeyed = 30 * time.Second
	grace   = 2 * time.Second // for goroutines at the end of Close
)

// Keys gives the key of a tenant: one age X25519 key each. Both may fail for a
// while, and are asked again. NotFound (masking) says that the tenant is gone: what
// was recorded for him nobody can read any more.
type Keys interface {
	Recipient(ctx context.Context, tenant masking.TenantID) (age.Recipient, error)
	Identity(ctx context.Context, tenant masking.TenantID) (age.Identity, error)
}

// Sink is told what became of a recording: Stored or Failed, once it is
// certain, and again until it says nil. So it must take the same twice.
type Sink interface {
	Stored(ctx context.Context, s Stored) error
	Failed(ctx context.Context, f Failure) error
}

// Stored is a recording that can be played from the blob store.
type Stored struct {
	Call     masking.CallID
	Tenant   masking.TenantID
	Part     int    // of Spec
	Key      string // in the blob store: "<tenant>/<call>.wav.age"
	Duration time.Duration
	Size     int64  // of the WAV that is played
	Peaks    []byte // see peaks
	// Truncated: the end is missing, because a process or a disk failed it.
	Truncated bool
	Dropped   int // packets for which there was no room, since a disk or a key was slow
	Late      int // packets that came when their place was written; both are 0 where unknown, after a crash
}

// Reason says why there is no recording. They are all of it.
type Reason string

// The reasons.
const (
	DiskFull    Reason = "disk_full"
	WriteFailed Reason = "write_failed"
	NoCodec     Reason = "no_codec" // nobody ever had a codec that is recorded
	Lost        Reason = "lost"     // a crash, or no key in time: nothing readable is left
)

// Failure is a recording of which nothing is left.
type Failure struct {
	Call   masking.CallID
	Tenant masking.TenantID
	Part   int
	Reason Reason
}

// Options of a Recorder. All without a default are required.
type Options struct {
	Dir  string // spool folder; made if need be
	Blob blob.Store
	Keys Keys
	Sink Sink
	Log  *slog.Logger // default: discard
	// Full tells that the disk has no room for more of the spool, though some for
	// others who write to it. Default: never.
	Full func() bool
	// Now is the monotonic clock that relay.Packet.At is of.
	Now   func() time.Duration
	Clock func() time.Time // default time.Now
}

// Recorder runs the recordings of a process. Its methods may be called from any
// goroutine.
type Recorder struct {
	o      Options
	create func(path string) (io.WriteCloser, error)
	keys   *keyring
	queue  *queue
	due    chan *Recording // for the workers

	closing           chan struct{}
	cancel            context.CancelFunc // ends everything, ready or not
	workers           sync.WaitGroup     // and the dispatcher
	finishers         sync.WaitGroup     // and what fetches keys
	stored, failed    atomic.Uint64
	dropped, lateness atomic.Uint64 // of recordings that are over
	full              atomic.Bool   // Options.Full, lately

	mu      sync.Mutex // never taken for a packet
	closed  bool
	running map[string]*Recording // by name
}

// Stats is the state of a Recorder; the counts are since New.
type Stats struct {
	Running        int    // recordings
	Waiting        int    // to be stored, or told of
	Dropped, Late  uint64 // packets; late ones are counted at the end of a recording
	Stored, Failed uint64 // recordings of which the Sink knows
}

// New makes a Recorder and starts its goroutines; Close ends them. It does not
// look into the spool: that is Recover's.
func New(o Options) (*Recorder, error) { return newRecorder(o, createFile) }

// newRecorder is New with another way to make a spool file.
func newRecorder(o Options, create func(string) (io.WriteCloser, error)) (*Recorder, error) {
	if o.Dir == "" || o.Blob == nil || o.Keys == nil || o.Sink == nil || o.Now == nil {
		return nil, errors.New("record: Dir, Blob, Keys, Sink and Now are required")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the spool of recordings: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &Recorder{o: o, create: create, keys: newKeyring(o), queue: newQueue(), due: make(chan *Recording),
		closing: make(chan struct{}), cancel: cancel, running: map[string]*Recording{}}
	for range max(4, runtime.GOMAXPROCS(0)) { // more than processors: one may hang in a slow disk
		r.workers.Go(r.worker)
	}
	r.workers.Go(func() { r.dispatch(ctx) })
	r.finishers.Go(func() { r.keys.fetch(ctx) })
	for range uploads {
		r.finishers.Go(func() { r.finisher(ctx) })
	}
	return r, nil
}

// dispatch gives every recording its turn five times a second, until there are
// none after the beginning of Close. A recording that is still having its turn,
// with a disk that hangs, is left out.
func (r *Recorder) dispatch(ctx context.Context) {
	defer close(r.due)
	ticker := time.NewTicker(drainEvery)
	defer ticker.Stop()
	for closing := r.closing; ; {
		select {
		case <-ticker.C:
		case <-closing:
			closing = nil // once is enough
		case <-ctx.Done():
			return
		}
		r.full.Store(r.o.Full != nil && r.o.Full())
		for _, c := range r.snapshot() {
			if !c.busy.CompareAndSwap(false, true) {
				continue
			}
			select {
			case r.due <- c:
			case <-ctx.Done():
				c.busy.Store(false)
				return
			}
		}
		if closing == nil && len(r.snapshot()) == 0 {
			return
		}
	}
}

func (r *Recorder) snapshot() []*Recording {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*Recording, 0, len(r.running))
	for _, c := range r.running {
		all = append(all, c)
	}
	return all
}

// worker gives turns until the dispatcher ends.
func (r *Recorder) worker() {
	var frames []byte // reused
	for c := range r.due {
		c.turn(&frames)
		c.busy.Store(false)
	}
}

// Waits reports whether a recording of a call waits to be stored, or told of.
func (r *Recorder) Waits(tenant masking.TenantID, call masking.CallID) bool {
	return r.queue.has(tenant, call)
}

// Stats gives the state.
func (r *Recorder) Stats() Stats {
	s := Stats{Waiting: r.queue.length(), Stored: r.stored.Load(), Failed: r.failed.Load(),
		Dropped: r.dropped.Load(), Late: r.lateness.Load()}
	for _, c := range r.snapshot() {
		s.Running++
		s.Dropped += c.dropped.Load()
	}
	return s
}

// Close ends running recordings, tries once more to store what waits, and ends
// every goroutine. What it does not manage before ctx is done, or what the blob
// store or the Sink refuse, stays in the spool for the next process. Nothing is
// recorded after it.
func (r *Recorder) Close(ctx context.Context) error {
	r.mu.Lock()
	first := !r.closed
	r.closed = true
	r.mu.Unlock()
	if !first {
		return nil
	}
	for _, c := range r.snapshot() {
		c.Stop()
	}
	close(r.closing)
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.workers.Wait()
		for _, c := range r.snapshot() { // none, unless ctx is done
			c.leave()
		}
		r.queue.close() // nothing is added any more
		r.keys.close()
		r.finishers.Wait()
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = ctx.Err()
		r.cancel()
		select {
		case <-done:
		case <-time.After(grace): // a disk that hangs does not let go
		}
	}
	r.cancel()
	if s := r.Stats(); s.Running+s.Waiting > 0 {
		r.o.Log.Warn("recordings stay in the spool for the next start", "unfinished", s.Running, "waiting", s.Waiting)
	}
	return err
}
