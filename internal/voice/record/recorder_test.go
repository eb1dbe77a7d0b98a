package record

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/voice/g711"
	"tandem/internal/voice/relay"
	"tandem/internal/voice/wav"
)

func TestACallIsRecordedStoredAndTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		defer g.close()
		c := g.Start(spec("call_1"))
		g.speak(c, 10*time.Second)
		if s := g.Stats(); s.Running != 1 || s.Waiting != 0 {
			t.Errorf("while it runs: %+v", s)
		}
		c.Stop()
		c.Stop()
		g.speak(c, time.Second) // nobody listens any more
		g.await(1)
		s := g.only()
		if s.Call != "call_1" || s.Tenant != "acme" || s.Key != "acme/call_1.wav.age" || s.Truncated || s.Dropped != 0 || s.Late != 0 ||
			s.Duration != 10*time.Second {
			t.Errorf("%+v", s)
		}
		spoken(t, g.play(s), 0.99)
		if p, n := g.sink.peaks, len(g.sink.peaks)/2; n < 250 || n > 500 || p[n/2] != 1000/128 || p[n+n/2] != 2000/128 {
			t.Errorf("peaks: %v", p)
		}
		if left := g.spool(); len(left) != 0 {
			t.Errorf("left in the spool: %v", left)
		}
		if s := g.Stats(); s.Running != 0 || s.Waiting != 0 || s.Stored != 1 {
			t.Errorf("at the end: %+v", s)
		}
	})
}

func TestNothingPlainIsOnTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		defer g.close()
		c := g.Start(spec("call_1"))
		g.speak(c, 10*time.Second)
		pattern := g711.ULaw.Values()[g711.ULaw.Encode(nil, []int16{1000})[0]]
		plain := bytes.Repeat([]byte{byte(pattern), byte(pattern >> 8)}, 2)
		for _, name := range g.spool() {
			path := filepath.Join(g.dir, name)
			b, err := os.ReadFile(path)
			if err != nil || len(b) < 100_000 || bytes.Contains(b, []byte("RIFF")) || bytes.Contains(b, plain) {
				t.Errorf("%s: %d bytes, %v", name, len(b), err)
			}
			for p := path; p != filepath.Dir(g.dir); p = filepath.Dir(p) {
				if info, err := os.Stat(p); err != nil || info.Mode().Perm()&0o077 != 0 {
					t.Errorf("%s may be read by others: %v, %v", p, info.Mode(), err)
				}
			}
		}
		c.Stop()
		g.await(1)
	})
}

func TestACodecMayChangeDuringTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		defer g.close()
		s := spec("call_1")
		s.Laws = [2][128]g711.Law{}
		c := g.Start(s)
		g.speak(c, time.Second) // payload 0 means nothing yet
		c.SetLaws(relay.A, both()[0])
		c.SetLaws(relay.B, both()[1])
		g.speak(c, time.Second)
		c.Packet(&relay.Packet{Side: relay.A, Payload: 101, At: g.now(), Media: []byte{1, 2, 3, 4}}) // telephone-event
		c.Packet(&relay.Packet{Side: relay.B, Payload: 200, At: g.now(), Media: []byte{1, 2, 3, 4}})
		c.Stop()
		g.await(1)
		sound := g.play(g.only())
		if len(sound.Samples) != 2*2*8000 || slices.ContainsFunc(sound.Samples[:15_000], func(s int16) bool { return s != 0 }) {
			t.Errorf("%d samples, or sound before there was a codec", len(sound.Samples))
		}
		spoken(t, wav.Sound{Samples: sound.Samples[16_000:]}, 0.97)
	})
}

func TestACallWithoutACodecToRecordIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		defer g.close()
		c := g.Start(Spec{Call: "call_1", Tenant: "acme"})
		g.speak(c, time.Second)
		c.Stop()
		g.await(1)
		if want := []Failure{{"call_1", "acme", 0, NoCodec}}; !slices.Equal(g.sink.failed, want) {
			t.Errorf("%v, want %v", g.sink.failed, want)
		}
	})
}

func TestACallThatEndsAtOnceIsStoredWithoutLength(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		defer g.close()
		g.Start(spec("call_1")).Stop()
		g.await(1)
		if s := g.only(); s.Duration != 0 || s.Size != 44 || s.Truncated || len(g.play(s).Samples) != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestPartsOfACallAreKeptApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		defer g.close()
		for part := range 2 {
			s := spec("call_1")
			s.Part = part
			c := g.Start(s)
			twice := g.Start(s) // which is nobody's recording
			g.speak(c, time.Second)
			twice.Packet(&relay.Packet{At: g.now(), Media: []byte{1}})
			twice.Stop()
			c.Stop()
		}
		g.await(2)
		if len(g.sink.stored) != 2 || g.sink.stored[0].Key != "acme/call_1.wav.age" || g.sink.stored[1].Key != "acme/call_1.1.wav.age" ||
			g.sink.stored[1].Part != 1 {
			t.Errorf("%+v", g.sink.stored)
		}
		for _, s := range g.sink.stored {
			spoken(t, g.play(s), 0.97)
		}
	})
}

func TestACallThatNoFileCanBeNamedAfterIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		defer g.close()
		for _, call := range []string{"", "..", "../../x", "a/b", "a.1", "+4915112345678"} {
			c := g.Start(spec(call))
			g.speak(c, 20*time.Millisecond)
			c.Stop()
		}
		g.await(6)
		if len(g.sink.failed) != 6 || len(g.sink.stored) != 0 || g.sink.failed[0].Reason != WriteFailed {
			t.Errorf("%v, %v", g.sink.failed, g.sink.stored)
		}
	})
}

func TestAKeyThatComesLateCostsNothingYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		defer g.close()
		g.keys.on.Store(true)
		c := g.Start(spec("call_1"))
		g.speak(c, 2*time.Second)
		if len(g.spool()) != 0 {
			t.Error("a file without a key")
		}
		g.keys.on.Store(false)
		g.speak(c, 5*time.Second)
		c.Stop()
		g.await(1)
		s := g.only()
		if s.Dropped != 0 || s.Duration != 7*time.Second {
			t.Errorf("%+v", s)
		}
		spoken(t, g.play(s), 0.99)
	})
}

func TestAKeyThatNeverComesLosesTheRecordingOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		defer g.close()
		g.keys.on.Store(true)
		c := g.Start(spec("call_1"))
		g.speak(c, 10*time.Second)
		if s := g.Stats(); s.Dropped < 600 || s.Dropped > 800 { // of 1000, which is more than memory holds
			t.Errorf("%d packets dropped", s.Dropped)
		}
		c.Stop()
		stopped := time.Now()
		g.await(1)
		if want := []Failure{{"call_1", "acme", 0, Lost}}; !slices.Equal(g.sink.failed, want) || time.Since(stopped) < unkeyed {
			t.Errorf("%v after %v, want %v", g.sink.failed, time.Since(stopped), want)
		}
	})
}

func TestABlobStoreThatIsAwayIsWaitedForAndNothingIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		defer g.close()
		g.store.on.Store(true)
		for i := range 3 {
			c := g.Start(spec(fmt.Sprintf("call_%d", i)))
			g.speak(c, 3*time.Second)
			c.Stop()
		}
		pass(time.Hour)
		if s := g.Stats(); s.Waiting != 3 || len(g.spool()) != 3 || len(g.sink.stored) != 0 {
			t.Errorf("%+v, spool %v", s, g.spool())
		}
		if tries := g.store.met.Load(); tries < 150 || tries > 240 { // about once a minute each
			t.Errorf("%d tries in an hour", tries)
		}
		g.store.on.Store(false)
		g.await(3)
		for _, s := range g.sink.stored {
			if s.Truncated || s.Duration != 3*time.Second {
				t.Errorf("%+v", s)
			}
			spoken(t, g.play(s), 0.99)
		}
		if s := g.Stats(); s.Waiting != 0 || len(g.spool()) != 0 {
			t.Errorf("%+v, spool %v", s, g.spool())
		}
	})
}

func TestASinkThatFailsIsToldAgainAndNothingIsStoredTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		defer g.close()
		g.sink.on.Store(true)
		c := g.Start(spec("call_1"))
		g.speak(c, time.Second)
		c.Stop()
		none := g.Start(Spec{Call: "call_2", Tenant: "acme"})
		none.Stop()
		pass(10 * time.Minute)
		if len(g.spool()) != 1 || g.sink.met.Load() < 20 {
			t.Errorf("spool %v after %d refusals", g.spool(), g.sink.met.Load())
		}
		g.store.on.Store(true) // it is not needed again
		g.sink.on.Store(false)
		g.await(2)
		if len(g.sink.stored) != 1 || len(g.sink.failed) != 1 || len(g.spool()) != 0 {
			t.Errorf("%v, %v, spool %v", g.sink.stored, g.sink.failed, g.spool())
		}
	})
}

func TestTheOldestIsStoredFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		now := time.Now()
		for _, age := range []int{2, 5, 1, 4, 3} {
			q.add(&job{name: fmt.Sprint(age), path: "x", since: now.Add(-time.Duration(age) * time.Hour)})
		}
		for _, want := range []string{"5", "4", "3", "2", "1"} {
			if j, _, _ := q.next(now); j.name != want {
				t.Errorf("%s before %s", j.name, want)
			}
		}
	})
}

func TestCloseFinishesWhatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		c := g.Start(spec("call_1"))
		g.speak(c, 3*time.Second)
		g.close()
		g.close()
		s := g.only()
		if s.Truncated || s.Duration != 3*time.Second || len(g.spool()) != 0 {
			t.Errorf("%+v, spool %v", s, g.spool())
		}
		late := g.Start(spec("call_2"))
		g.speak(late, time.Second)
		late.Stop()
		if s := g.Stats(); s.Running != 0 || len(g.spool()) != 0 {
			t.Errorf("after Close: %+v", s)
		}
	})
}

func TestWhatCloseCannotStoreTheNextStartDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		g.store.on.Store(true)
		for i := range 3 {
			c := g.Start(spec(fmt.Sprintf("call_%d", i)))
			g.speak(c, time.Second)
		}
		begun := time.Now()
		g.close() // does not wait for a store that is away
		if took := time.Since(begun); took > 2*drainEvery || len(g.spool()) != 3 {
			t.Errorf("took %v, spool %v", took, g.spool())
		}
		g.start(nil)
		defer g.close()
		g.store.on.Store(false)
		running := g.Start(spec("call_9"))
		g.speak(running, time.Second)
		if n, err := g.Recover(t.Context()); n != 3 || err != nil {
			t.Errorf("%d recordings, %v", n, err)
		}
		if n, err := g.Recover(t.Context()); n != 0 || err != nil {
			t.Errorf("%d recordings again, %v", n, err)
		}
		g.await(3)
		for _, s := range g.sink.stored {
			begun := time.Duration(s.Call[len(s.Call)-1] - '0') // seconds after the first
			if s.Truncated || s.Duration != (3-begun)*time.Second {
				t.Errorf("%s: %v, truncated %v", s.Call, s.Duration, s.Truncated)
			}
		}
		running.Stop()
		g.await(1)
	})
}

func TestRecoverLetsAloneWhatIsNoRecording(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		defer g.close()
		for _, name := range []string{"README", "acme/call_1.wav", "acme/.hidden.part", "acme/deep/call_2.part", "acme/call_1.x.done"} {
			path := filepath.Join(g.dir, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte("x"), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := g.Recover(t.Context()); n != 0 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	})
}

func TestARecordingOfATenantWhoIsGoneIsNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		defer g.close()
		c := g.Start(spec("call_1"))
		g.speak(c, 3*time.Second)
		g.keys.gone.Store(true)
		c.Stop()
		pass(time.Hour)
		if s, left := g.Stats(), g.spool(); s.Waiting != 0 || len(left) != 0 {
			t.Errorf("%+v, in the spool %v", s, left)
		}
	})
}

// A folder that cannot be looked at, as one of another user's, hides no recording
// beside it.
func TestRecoverGoesOnWhereItCannotLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		c := g.Start(spec("call_1"))
		g.speak(c, 3*time.Second)
		g.kill()
		unreadable(t, g.dir, "aaa")
		g.start(nil)
		defer g.close()
		if n, err := g.Recover(t.Context()); n != 1 || err == nil {
			t.Errorf("found %d, %v; want one, and told of what cannot be seen", n, err)
			return
		}
		g.await(1)
		if s := g.only(); !s.Truncated {
			t.Errorf("%+v", s)
		}
	})
}

// unreadable makes a folder that not even root can list: its path is too long.
func unreadable(t *testing.T, dir, name string) {
	t.Helper()
	at, err := os.OpenRoot(dir)
	for range 20 {
		if err == nil {
			err = at.Mkdir(name, 0o700)
		}
		if err != nil {
			t.Fatal(err)
		}
		up := at
		at, err = up.OpenRoot(name)
		_ = up.Close()
		name = strings.Repeat("x", 250)
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = at.Close()
}

// disk is a disk with so much room; a full one takes what still fits. When it
// is stuck, it takes and refuses nothing until released.
type disk struct {
	room  atomic.Int64
	stuck chan struct{} // nil = never
}

func (d *disk) create(path string) (io.WriteCloser, error) {
	if d.room.Load() < 0 {
		return nil, &os.PathError{Op: "open", Path: path, Err: syscall.ENOSPC}
	}
	f, err := createFile(path)
	return &diskFile{d, f}, err
}

type diskFile struct {
	disk *disk
	io.WriteCloser
}

func (f *diskFile) Write(p []byte) (int, error) {
	if f.disk.stuck != nil {
		<-f.disk.stuck
	}
	left := f.disk.room.Add(-int64(len(p)))
	if left >= 0 {
		return f.WriteCloser.Write(p)
	}
	n, _ := f.WriteCloser.Write(p[:max(0, int64(len(p))+left)])
	return n, syscall.ENOSPC
}

func TestADiskThatFillsUpEndsTheRecordingAndKeepsWhatIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := &disk{}
		full.room.Store(200_000)
		g := newRig(t, full.create)
		defer g.close()
		c := g.Start(spec("call_1"))
		g.speak(c, 20*time.Second)
		g.await(1)
		s := g.only()
		if !s.Truncated || s.Duration < 6*time.Second || s.Duration > 7*time.Second { // three pieces
			t.Errorf("%+v", s)
		}
		spoken(t, g.play(s), 0.99)
		c.Stop() // which ends nothing any more
		if s := g.Stats(); s.Running != 0 || len(g.spool()) != 0 {
			t.Errorf("%+v, spool %v", s, g.spool())
		}
	})
}

// Recordings leave the last of a disk to the database.
func TestRecordingsEndWhenTheRestOfTheDiskIsNotForThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		defer g.close()
		c := g.Start(spec("call_1"))
		g.speak(c, 10*time.Second)
		g.full.Store(true)
		g.await(1)
		if s := g.only(); !s.Truncated || s.Duration < 6*time.Second {
			t.Errorf("%+v", s)
		}
		c.Stop()
		c = g.Start(spec("call_2"))
		g.speak(c, time.Second)
		g.await(1)
		if want := []Failure{{"call_2", "acme", 0, DiskFull}}; !slices.Equal(g.sink.failed, want) || len(g.spool()) != 0 {
			t.Errorf("%v, want %v; spool %v", g.sink.failed, want, g.spool())
		}
		g.full.Store(false)
		pass(time.Second)
		c = g.Start(spec("call_3"))
		g.speak(c, time.Second)
		c.Stop()
		g.await(1)
		if n := len(g.sink.stored); n != 2 {
			t.Errorf("%d are stored", n)
		}
	})
}

func TestADiskThatIsFullIsTold(t *testing.T) {
	for name, room := range map[string]int64{"at once": -1, "in the head": 20, "in the first piece": 10_000} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				full := &disk{}
				full.room.Store(room)
				g := newRig(t, full.create)
				defer g.close()
				c := g.Start(spec("call_1"))
				g.speak(c, 5*time.Second)
				c.Stop()
				g.await(1)
				if want := []Failure{{"call_1", "acme", 0, DiskFull}}; !slices.Equal(g.sink.failed, want) || len(g.spool()) != 0 {
					t.Errorf("%v, want %v; spool %v", g.sink.failed, want, g.spool())
				}
			})
		})
	}
}

func TestADiskThatIsStuckCostsPacketsAndNobodyElseAnything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := &disk{stuck: make(chan struct{})}
		stuck.room.Store(1 << 40)
		g := newRig(t, func(path string) (io.WriteCloser, error) {
			if strings.HasSuffix(path, "call_1.part") {
				return stuck.create(path)
			}
			return createFile(path)
		})
		defer g.close()
		slow, other := g.Start(spec("call_1")), g.Start(spec("call_2"))
		for range 10 {
			g.speak(slow, 500*time.Millisecond)
			g.speak(other, 500*time.Millisecond)
		}
		other.Stop()
		g.await(1)
		if s := g.only(); s.Call != "call_2" || s.Dropped != 0 {
			t.Errorf("%+v", s)
		}
		close(stuck.stuck)
		g.speak(slow, 5*time.Second)
		slow.Stop()
		g.await(1)
		s := g.sink.stored[1]
		if s.Truncated || s.Dropped == 0 || s.Duration < 15*time.Second || s.Duration > 15*time.Second+drainEvery {
			t.Errorf("%+v", s)
		}
		sound := g.play(s)
		spoken(t, wav.Sound{Samples: sound.Samples[len(sound.Samples)-2*4*8000:]}, 0.99)
	})
}

func TestAFaultEndsItsOwnRecording(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		defer g.close()
		bad, good := g.Start(spec("call_1")), g.Start(spec("call_2"))
		bad.laws[0].Load()[0] = 77 // no such law
		for range 5 {
			g.speak(bad, 100*time.Millisecond)
			g.speak(good, 100*time.Millisecond)
		}
		good.Stop()
		g.await(2)
		if len(g.sink.stored) != 1 || g.sink.stored[0].Call != "call_2" || len(g.sink.failed) != 1 || g.sink.failed[0].Reason != WriteFailed {
			t.Errorf("%v, %v", g.sink.stored, g.sink.failed)
		}
	})
}

func TestPacketDoesNotAllocate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		defer g.close()
		c := g.Start(spec("call_1"))
		p := &relay.Packet{Media: make([]byte, 160)}
		if n := testing.AllocsPerRun(1000, func() { c.Packet(p) }); n != 0 { // mostly drops
			t.Errorf("%v allocations a packet", n)
		}
		r := newRing()
		if n := testing.AllocsPerRun(1000, func() {
			if !r.push(p, g711.ALaw) {
				t.Fatal("full")
			}
			r.peek()
			r.pop()
		}); n != 0 {
			t.Errorf("%v allocations a packet", n)
		}
		c.Stop()
		g.await(1)
	})
}
