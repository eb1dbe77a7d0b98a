package record

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"filippo.io/age"
	"go.uber.org/goleak"

	"tandem/internal/blob"
	"tandem/internal/masking"
	"tandem/internal/voice/g711"
	"tandem/internal/voice/relay"
	"tandem/internal/voice/wav"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errAway = errors.New("away")

// outage can be switched on and off, and counts who met it.
type outage struct {
	on  atomic.Bool
	met atomic.Int32
}

func (o *outage) err() error {
	if !o.on.Load() {
		return nil
	}
	o.met.Add(1)
	return errAway
}

// keys has one key for all tenants.
type keys struct {
	outage
	id   *age.X25519Identity
	gone atomic.Bool // the tenant
}

func (k *keys) Recipient(context.Context, masking.TenantID) (age.Recipient, error) {
	return k.id.Recipient(), k.err()
}

func (k *keys) Identity(context.Context, masking.TenantID) (age.Identity, error) {
	if k.gone.Load() {
		return nil, fmt.Errorf("read the key: %w", masking.ErrNotFound())
	}
	return k.id, k.err()
}

// sink remembers what it was told.
type sink struct {
	outage
	told   chan struct{} // after each
	mu     sync.Mutex
	stored []Stored
	failed []Failure
	peaks  []byte // of the last
}

func (s *sink) Stored(_ context.Context, r Stored) error {
	if err := s.err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stored = append(s.stored, r)
	s.peaks, s.stored[len(s.stored)-1].Peaks = r.Peaks, nil // so that a record can be printed
	s.told <- struct{}{}
	return nil
}

func (s *sink) Failed(_ context.Context, f Failure) error {
	if err := s.err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = append(s.failed, f)
	s.told <- struct{}{}
	return nil
}

// store is a folder that can be away.
type store struct {
	blob.Store
	outage
}

func (s *store) Put(ctx context.Context, key string, r io.Reader, size int64) error {
	if err := s.err(); err != nil {
		_, _ = io.CopyN(io.Discard, r, size/2) // it broke in the middle
		return err
	}
	return s.Store.Put(ctx, key, r, size)
}

// rig is a Recorder with everything around it, inside a synctest bubble.
type rig struct {
	*Recorder
	t     *testing.T
	dir   string
	keys  *keys
	sink  *sink
	store *store
	full  atomic.Bool
	epoch time.Time
}

// newRig makes a rig; create nil = files.
func newRig(t *testing.T, create func(string) (io.WriteCloser, error)) *rig {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := blob.Open("file:"+filepath.Join(t.TempDir(), "blobs"), nil)
	if err != nil {
		t.Fatal(err)
	}
	g := &rig{t: t, dir: filepath.Join(t.TempDir(), "spool"), keys: &keys{id: id}, sink: &sink{told: make(chan struct{}, 1000)},
		store: &store{Store: blobs}, epoch: time.Now()}
	g.start(create)
	return g
}

// start begins another process on the same spool.
func (g *rig) start(create func(string) (io.WriteCloser, error)) {
	g.t.Helper()
	if create == nil {
		create = createFile
	}
	var err error
	g.Recorder, err = newRecorder(Options{Dir: g.dir, Blob: g.store, Keys: g.keys, Sink: g.sink, Now: g.now, Full: g.full.Load}, create)
	if err != nil {
		g.t.Fatal(err)
	}
}

func (g *rig) now() time.Duration { return time.Since(g.epoch) }

func (g *rig) close() {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), time.Minute)
	defer cancel()
	if err := g.Close(ctx); err != nil {
		g.t.Error(err)
	}
}

// kill ends the Recorder as if the process were gone: nothing is finished.
func (g *rig) kill() {
	ctx, cancel := context.WithCancel(g.t.Context())
	cancel()
	synctest.Wait()
	for _, c := range g.snapshot() {
		if !c.busy.CompareAndSwap(false, true) { // no worker will have it again
			g.t.Error("a worker is busy while nothing happens")
		}
	}
	_ = g.Close(ctx)
}

// both is PCMU as 0 and PCMA as 8 on both sides.
func both() (laws [2][128]g711.Law) {
	for side := range laws {
		laws[side][0], laws[side][8] = g711.ULaw, g711.ALaw
	}
	return laws
}

func spec(call string) Spec {
	return Spec{Call: masking.CallID(call), Tenant: "acme", Laws: both()}
}

// pass waits for a moment of the bubble's own clock, and until all that is due by
// then has been done.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// speak lets both sides say a constant for so long, in real packets. Side A has
// 1000 and side B -2000, or what is nearest in µ-law.
func (g *rig) speak(c *Recording, d time.Duration) {
	media := [2][]byte{bytes.Repeat(g711.ULaw.Encode(nil, []int16{1000}), 160), bytes.Repeat(g711.ULaw.Encode(nil, []int16{-2000}), 160)}
	packets := time.NewTicker(20 * time.Millisecond)
	defer packets.Stop()
	for range d / (20 * time.Millisecond) {
		<-packets.C
		n := uint32(g.now() / (20 * time.Millisecond))
		for side := range media {
			c.Packet(&relay.Packet{Side: relay.Side(side), Sequence: uint16(n), Timestamp: 160 * n, SSRC: uint32(side), At: g.now(), Media: media[side]})
		}
	}
}

// await waits until the sink has been told so many times more.
func (g *rig) await(times int) {
	g.t.Helper()
	for range times {
		select {
		case <-g.sink.told:
		case <-time.After(2 * time.Hour): // of the bubble
			g.t.Fatal("nobody was told")
		}
	}
	synctest.Wait()
}

// only gives the one recording that was stored, and fails if anything failed.
func (g *rig) only() Stored {
	g.t.Helper()
	g.sink.mu.Lock()
	defer g.sink.mu.Unlock()
	if len(g.sink.stored) != 1 || len(g.sink.failed) != 0 {
		g.t.Fatalf("stored %v, failed %v", g.sink.stored, g.sink.failed)
	}
	return g.sink.stored[0]
}

// play reads a stored recording with a player, and checks what the sink was
// told of it.
func (g *rig) play(s Stored) wav.Sound {
	g.t.Helper()
	p, size, err := OpenPlayer(g.t.Context(), g.store, s.Key, g.keys.id)
	if err != nil {
		g.t.Fatal(err)
	}
	defer func() {
		if err := p.Close(); err != nil {
			g.t.Error(err)
		}
	}()
	sound, err := wav.Read(p, 1<<30)
	if err != nil || sound.Cut || sound.Rate != 8000 || sound.Channels != 2 {
		g.t.Fatalf("%d Hz, %d channels, cut %v: %v", sound.Rate, sound.Channels, sound.Cut, err)
	}
	if frames := len(sound.Samples) / 2; size != s.Size || s.Size != int64(44+4*frames) || s.Duration != time.Duration(frames)*tick {
		g.t.Errorf("size %d and %d, %v for %d frames", size, s.Size, s.Duration, frames)
	}
	return sound
}

// spool gives the names of what is in the spool.
func (g *rig) spool() []string {
	g.t.Helper()
	names, err := filepath.Glob(filepath.Join(g.dir, "*", "*"))
	if err != nil {
		g.t.Fatal(err)
	}
	for i := range names {
		names[i], _ = filepath.Rel(g.dir, names[i])
	}
	return names
}

// spoken fails unless a share of the frames is what speak says.
func spoken(t *testing.T, s wav.Sound, share float64) {
	t.Helper()
	want := g711.ULaw.Decode(nil, g711.ULaw.Encode(nil, []int16{1000, -2000}))
	n := 0
	for i := 0; i < len(s.Samples); i += 2 {
		if s.Samples[i] == want[0] && s.Samples[i+1] == want[1] {
			n++
		}
	}
	if got := float64(2*n) / float64(len(s.Samples)); got < share {
		t.Errorf("%.3f of %d frames are what was said", got, len(s.Samples)/2)
	}
}
