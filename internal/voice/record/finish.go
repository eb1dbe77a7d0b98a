package record

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"filippo.io/age"

	"tandem/internal/masking"
	"tandem/internal/voice/g711"
	"tandem/internal/voice/wav"
)

const (
	retryFirst  = time.Second
	retryMost   = time.Minute
	sinkTimeout = 30 * time.Second
	sealedChunk = 64 << 10 // of age, and
	sealCost    = 16       // what it grows by
)

// job is a recording that is over and not yet stored or told of.
type job struct {
	spec   Spec
	name   string
	path   string // of the spool file; "" = there is none
	reason Reason // if nothing can be read
	since  time.Time

	// owned by the finisher that has it, else by the queue
	taken  bool
	tries  int
	due    time.Time
	stored *Stored // it is in the blob store
	last   bool    // tried since the beginning of Close
}

// queue holds jobs, and gives out the oldest that is due.
type queue struct {
	wake chan struct{}

	mu     sync.Mutex
	jobs   []*job // oldest first
	closed bool
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// add takes a job.
func (q *queue) add(j *job) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.insert(j)
}

// recover takes a job whose file was found, unless it has that one, or has had
// it: then the file is gone before the job is off the list.
func (q *queue) recover(j *job) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if slices.ContainsFunc(q.jobs, func(other *job) bool { return other.path != "" && other.name == j.name }) {
		return false
	}
	if _, err := os.Lstat(j.path); err != nil {
		return false
	}
	q.insert(j)
	return true
}

// insert puts a job in its place. The caller holds mu.
func (q *queue) insert(j *job) {
	at, _ := slices.BinarySearchFunc(q.jobs, j, func(a, b *job) int { return a.since.Compare(b.since) })
	q.jobs = slices.Insert(q.jobs, at, j)
	q.signal()
}

func (q *queue) has(tenant masking.TenantID, call masking.CallID) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.ContainsFunc(q.jobs, func(j *job) bool { return j.spec.Tenant == tenant && j.spec.Call == call })
}

func (q *queue) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.jobs)
}

// close lets every job be tried once more, at once.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.signal()
}

// next gives a job, or how long there is none; over when there will be none.
func (q *queue) next(now time.Time) (j *job, wait time.Duration, over bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	wait, over = time.Hour, q.closed
	for _, candidate := range q.jobs {
		left := candidate.due.Sub(now)
		switch {
		case candidate.taken || candidate.last:
		case left <= 0 || q.closed:
			candidate.taken, candidate.last = true, q.closed
			q.signal() // there may be more for others
			return candidate, 0, false
		default:
			wait = min(wait, left)
		}
	}
	if over {
		q.signal() // for the others to see
	}
	return nil, wait, over
}

// done takes a job back, off the list or to be tried later.
func (q *queue) done(j *job, err error, now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err == nil {
		q.jobs = slices.DeleteFunc(q.jobs, func(other *job) bool { return other == j })
		return
	}
	j.taken = false
	j.due = now.Add(min(retryFirst<<min(j.tries, 10), retryMost))
	j.tries++
	q.signal()
}

// finisher works on the queue until ctx is done, or after close until every job
// was tried.
func (r *Recorder) finisher(ctx context.Context) {
	for {
		j, wait, over := r.queue.next(time.Now())
		if j == nil {
			if over {
				return
			}
			timer := time.NewTimer(wait)
			select {
			case <-r.queue.wake:
			case <-timer.C:
			case <-ctx.Done():
			}
			timer.Stop()
		} else {
			err := r.finish(ctx, j)
			if err != nil {
				level := slog.LevelWarn
				if j.tries > 0 { // said already; a store can be away for days
					level = slog.LevelDebug
				}
				r.o.Log.Log(ctx, level, "recording waits to be stored", "call", string(j.spec.Call), "tenant", string(j.spec.Tenant),
					"tries", j.tries+1, "error", err)
			}
			r.queue.done(j, err, time.Now())
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// finish brings a job to its end. Every step can be taken again, by this process
// or the next: the blob is replaced by its like, the Sink takes the same twice,
// and the spool file goes last.
func (r *Recorder) finish(ctx context.Context, j *job) error {
	if j.path != "" && j.stored == nil {
		stored, err := r.store(ctx, j)
		if masking.KindOf(err) == masking.NotFound {
			r.o.Log.Info("recording of a tenant who is gone removed", "call", string(j.spec.Call), "tenant", string(j.spec.Tenant))
			return j.clear()
		}
		if err != nil && !errors.Is(err, errNothing) {
			return err
		}
		j.stored = stored
	}
	within, cancel := context.WithTimeout(ctx, sinkTimeout)
	defer cancel()
	if j.stored != nil {
		if err := r.o.Sink.Stored(within, *j.stored); err != nil {
			return fmt.Errorf("tell of a recording: %w", err)
		}
	} else {
		f := Failure{Call: j.spec.Call, Tenant: j.spec.Tenant, Part: j.spec.Part, Reason: j.reason}
		if f.Reason == "" {
			f.Reason = Lost
		}
		if err := r.o.Sink.Failed(within, f); err != nil {
			return fmt.Errorf("tell of a recording: %w", err)
		}
	}
	if err := j.clear(); err != nil {
		return err
	}
	if j.stored != nil {
		r.stored.Add(1)
	} else {
		r.failed.Add(1)
	}
	return nil
}

// clear removes the spool file.
func (j *job) clear() error {
	if j.path == "" {
		return nil
	}
	if err := os.Remove(j.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("clear the spool: %w", err)
	}
	return nil
}

// store makes the spool file into a WAV with the right lengths in its head,
// sealed anew, in the blob store. It gives errNothing where nothing can be read.
func (r *Recorder) store(ctx context.Context, j *job) (*Stored, error) {
	id, err := r.identity(ctx, j)
	if err != nil {
		return nil, err
	}
	to, err := r.recipient(ctx, j)
	if err != nil {
		return nil, err
	}
	c, err := summary(j.path, id)
	if err != nil {
		return nil, err
	}
	key := j.name + ".wav.age"
	damaged, err := r.upload(ctx, upload{key, j.path, c.frames, id, to})
	if damaged { // in its middle, whatever its end says
		if c, err = survey(j.path, id); err != nil {
			return nil, err
		}
		_, err = r.upload(ctx, upload{key, j.path, c.frames, id, to})
	}
	if err != nil {
		return nil, err
	}
	return &Stored{Call: j.spec.Call, Tenant: j.spec.Tenant, Part: j.spec.Part, Key: key,
		Duration: time.Duration(c.frames) * tick, Size: wav.HeaderSize + c.frames*frameSize, Peaks: c.peaks, Truncated: !c.whole,
		Dropped: int(c.dropped), Late: int(c.late)}, nil
}

// upload is what goes from a spool file to a key.
type upload struct {
	key, path string
	frames    int64
	from      age.Identity
	to        age.Recipient
}

// upload brings a recording to the blob store. damaged means that the spool
// file holds less than it should.
func (r *Recorder) upload(ctx context.Context, u upload) (damaged bool, err error) {
	s, err := readSpool(u.path, u.from)
	if err != nil {
		return false, err
	}
	defer s.Close()
	data := u.frames * frameSize
	plain := io.MultiReader(bytes.NewReader(wav.Header(g711.Rate, channels, data)), io.LimitReader(s, data))
	sealed, err := age.EncryptReader(plain, u.to)
	if err != nil {
		return false, fmt.Errorf("seal a recording: %w", err)
	}
	size, err := sealedSize(wav.HeaderSize+data, u.to)
	if err != nil {
		return false, err
	}
	err = r.o.Blob.Put(ctx, u.key, sealed, size) // refuses fewer bytes
	return err != nil && s.cut && s.disk == nil, err
}

func (r *Recorder) identity(ctx context.Context, j *job) (age.Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, keyTimeout)
	defer cancel()
	id, err := r.o.Keys.Identity(ctx, j.spec.Tenant)
	if err != nil {
		return nil, fmt.Errorf("key of a recording: %w", err)
	}
	return id, nil
}

func (r *Recorder) recipient(ctx context.Context, j *job) (age.Recipient, error) {
	ctx, cancel := context.WithTimeout(ctx, keyTimeout)
	defer cancel()
	to, err := r.o.Keys.Recipient(ctx, j.spec.Tenant)
	if err != nil {
		return nil, fmt.Errorf("key of a recording: %w", err)
	}
	return to, nil
}

// sealedSize is how long the age file of so much content is: a head that
// depends on the recipient, and what each piece grows by.
func sealedSize(plain int64, to age.Recipient) (int64, error) {
	var empty bytes.Buffer
	w, err := age.Encrypt(&empty, to)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return 0, fmt.Errorf("seal a recording: %w", err)
	}
	chunks := max(1, (plain+sealedChunk-1)/sealedChunk)
	return int64(empty.Len()) - sealCost + plain + chunks*sealCost, nil
}
