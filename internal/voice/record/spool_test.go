package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"filippo.io/age"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"tandem/internal/blob"
	"tandem/internal/voice/g711"
	"tandem/internal/voice/wav"
)

// spoolFileOf writes a spool file of so many frames, counting from 1 on the
// left, and gives its path, and the length of what age puts before the content.
func spoolFileOf(t *testing.T, frames int, id *age.X25519Identity) (path string, head int64) {
	t.Helper()
	r := &Recorder{o: Options{Dir: t.TempDir()}, create: createFile}
	s, err := r.openSpool("acme/call_1", id.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	var b []byte
	for i := range frames {
		b = binary.LittleEndian.AppendUint32(b, uint32(uint16(i+1)))
	}
	if _, err := s.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := s.finish(contents{frames: int64(frames), peaks: []byte{1, 2}, dropped: 3, late: 4}); err != nil {
		t.Fatal(err)
	}
	head, err = sealedSize(0, id.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	return s.path, head - sealCost
}

func newIdentity(t *testing.T) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestASpoolFileCutAnywhereGivesEverythingBeforeThePieceThatWasCut(t *testing.T) {
	const frames = 5*sealedChunk/frameSize - 1234
	id := newIdentity(t)
	path, head := spoolFileOf(t, frames, id)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	cuts := []int{len(whole), len(whole) - 1, len(whole) - tailLen - sealCost}
	for i := range int(head) + 300 {
		cuts = append(cuts, i)
	}
	for piece := 1; piece < 5; piece++ {
		at := int(head) + piece*(sealedChunk+sealCost)
		cuts = append(cuts, at-sealCost-1, at-sealCost, at-1, at, at+1, at+sealCost, at+sealCost+1)
	}
	for range 50 {
		cuts = append(cuts, rand.IntN(len(whole)))
	}
	file := filepath.Join(t.TempDir(), "cut.part")
	for _, cut := range cuts {
		if err := os.WriteFile(file, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		pieces := max(0, (int64(cut)-head)/(sealedChunk+sealCost))
		want := (pieces*sealedChunk - wav.HeaderSize) / frameSize
		c, err := summary(file, id)
		switch {
		case cut == len(whole):
			if err != nil || c.frames != frames || !c.whole || c.dropped != 3 || c.late != 4 || !bytes.Equal(c.peaks, []byte{1, 2}) {
				t.Errorf("whole: %+v, %v", c, err)
			}
		case pieces == 0:
			if !errors.Is(err, errNothing) {
				t.Errorf("cut at %d: %d frames, %v", cut, c.frames, err)
			}
		case err != nil || c.frames != want || c.whole:
			t.Errorf("cut at %d: %d frames, want %d, whole %v, %v", cut, c.frames, want, c.whole, err)
		}
	}
}

func TestAPieceThatWasAlteredEndsTheRecording(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		g.store.on.Store(true)
		c := g.Start(spec("call_1"))
		g.speak(c, 10*time.Second)
		g.close()
		path := filepath.Join(g.dir, "acme", "call_1.done")
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b[3*(sealedChunk+sealCost)] ^= 1 // near the end of the third piece
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		g.store.on.Store(false)
		g.start(nil)
		defer g.close()
		if n, err := g.Recover(t.Context()); n != 1 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		g.await(1)
		s := g.only()
		if want := time.Duration(2*sealedChunk-wav.HeaderSize) / frameSize * tick; s.Duration != want || !s.Truncated {
			t.Errorf("%+v, want %v", s, want)
		}
		spoken(t, g.play(s), 0.99)
	})
}

func TestAFileThatCannotBeReadNowIsNotGivenUp(t *testing.T) {
	id := newIdentity(t)
	path, _ := spoolFileOf(t, 100, id)
	if _, err := summary(path, newIdentity(t)); err == nil || errors.Is(err, errNothing) {
		t.Errorf("with another key: %v", err)
	}
	if _, err := summary(filepath.Dir(path), id); err == nil || errors.Is(err, errNothing) { // read gives EISDIR
		t.Errorf("a disk that cannot be read: %v", err)
	}
	if _, err := summary(path+"x", id); !errors.Is(err, errNothing) {
		t.Errorf("a file that is gone: %v", err)
	}
}

func TestASpoolFileIsNeverWrittenOver(t *testing.T) {
	r := &Recorder{o: Options{Dir: t.TempDir()}, create: createFile}
	to := newIdentity(t).Recipient()
	for _, end := range []func(*spoolFile) error{
		func(s *spoolFile) error { s.abandon(); return nil },
		func(s *spoolFile) error { return s.finish(contents{}) },
	} {
		s, err := r.openSpool("acme/call_1", to)
		if err != nil {
			t.Fatal(err)
		}
		if err := end(s); err != nil {
			t.Fatal(err)
		}
		if _, err := r.openSpool("acme/call_1", to); !errors.Is(err, fs.ErrExist) {
			t.Errorf("over %s: %v", filepath.Base(s.path), err)
		}
		if err := os.Remove(s.path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAProcessThatIsKilledLosesThreeSecondsAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		lengths := map[string]time.Duration{}
		for i := range 6 {
			call := fmt.Sprintf("call_%d", i)
			lengths[call] = time.Duration(5-i)*1300*time.Millisecond + 1300*time.Millisecond
			c := g.Start(spec(call))
			g.speak(c, 1300*time.Millisecond)
		}
		g.kill()
		if len(g.spool()) != 6 {
			t.Fatalf("spool %v", g.spool())
		}
		g.start(nil)
		defer g.close()
		if n, err := g.Recover(t.Context()); n != 6 || err != nil {
			t.Errorf("%d recordings, %v", n, err)
		}
		g.await(6)
		for _, s := range g.sink.stored {
			if lost := lengths[string(s.Call)] - s.Duration; !s.Truncated || lost < 0 || lost > 3*time.Second {
				t.Errorf("%s: %v of %v, truncated %v", s.Call, s.Duration, lengths[string(s.Call)], s.Truncated)
			}
			g.play(s)
		}
		for _, f := range g.sink.failed {
			if f.Reason != Lost || lengths[string(f.Call)] > 3*time.Second {
				t.Errorf("%+v of %v", f, lengths[string(f.Call)])
			}
		}
		if len(g.spool()) != 0 || len(g.sink.stored) < 3 {
			t.Errorf("spool %v, %d stored", g.spool(), len(g.sink.stored))
		}
	})
}

func TestARecordingIsPlayedFromAnyPlaceInAFolderAndInS3(t *testing.T) {
	backend := s3mem.New()
	if err := backend.CreateBucket("tandem"); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(gofakes3.New(backend).Server())
	defer server.Close()
	const frames = 300_000
	plain := wav.Header(g711.Rate, channels, frames*frameSize)
	for i := range frames {
		plain = binary.LittleEndian.AppendUint32(plain, uint32(i))
	}
	id := newIdentity(t)
	for _, rawURL := range []string{"file:" + t.TempDir(), "s3://tandem/x?endpoint=" + url.QueryEscape(server.URL)} {
		s, err := blob.Open(rawURL, func(string) string { return "AKIAEXAMPLE" })
		if err != nil {
			t.Fatal(err)
		}
		if c, ok := s.(io.Closer); ok {
			defer func() { _ = c.Close() }()
		}
		sealed, err := age.EncryptReader(bytes.NewReader(plain), id.Recipient())
		if err != nil {
			t.Fatal(err)
		}
		length, err := sealedSize(int64(len(plain)), id.Recipient())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Put(t.Context(), "acme/call_1.wav.age", sealed, length); err != nil { // refuses another length
			t.Fatal(err)
		}
		p, size, err := OpenPlayer(t.Context(), s, "acme/call_1.wav.age", id)
		if err != nil || size != int64(len(plain)) {
			t.Fatalf("%d bytes, %v", size, err)
		}
		for _, at := range []int64{0, 44, 65_500, 700_000, size - 10, 100} {
			b := make([]byte, 1000)
			if _, err := p.Seek(at, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			n, err := io.ReadFull(p, b)
			if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) || !bytes.Equal(b[:n], plain[at:min(at+1000, size)]) {
				t.Errorf("%d bytes at %d, %v", n, at, err)
			}
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if _, _, err := OpenPlayer(t.Context(), s, "acme/none.wav.age", id); !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("what is not there: %v", err)
		}
		var stranger *age.NoIdentityMatchError
		if _, _, err := OpenPlayer(t.Context(), s, "acme/call_1.wav.age", newIdentity(t)); !errors.As(err, &stranger) {
			t.Errorf("with another tenant's key: %v", err)
		}
	}
}

func TestTheSealedSizeIsKnownBefore(t *testing.T) {
	to := newIdentity(t).Recipient()
	for _, n := range []int64{0, 1, wav.HeaderSize, sealedChunk - 1, sealedChunk, sealedChunk + 1, 3 * sealedChunk} {
		var b bytes.Buffer
		w, err := age.Encrypt(&b, to)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, n)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if got, err := sealedSize(n, to); got != int64(b.Len()) || err != nil {
			t.Errorf("%d bytes: %d, want %d, %v", n, got, b.Len(), err)
		}
	}
}

// waveform is the definition of Stored.Peaks, on the whole.
func waveform(frames [][2]int16) []byte {
	width := 1
	for (len(frames)+width-1)/width > mostPeaks {
		width *= 2
	}
	var sides [2][]byte
	for bucket := range slices.Chunk(frames, width) {
		for side := range sides {
			loudest := 0
			for _, f := range bucket {
				loudest = max(loudest, int(f[side]), -int(f[side])-1)
			}
			sides[side] = append(sides[side], byte(loudest/128))
		}
	}
	return append(sides[0], sides[1]...)
}

func TestPeaksAreTheLoudestOfTheirTime(t *testing.T) {
	for _, n := range []int{0, 1, 499, 500, 501, 1000, 1001, 123_457} {
		var all [][2]int16
		var b []byte
		for range n {
			f := [2]int16{int16(rand.Uint32()) >> rand.IntN(16), int16(rand.Uint32()) >> rand.IntN(16)}
			if rand.IntN(100) == 0 {
				f[0] = -32768
			}
			all = append(all, f)
			b = binary.LittleEndian.AppendUint32(b, uint32(uint16(f[0]))|uint32(uint16(f[1]))<<16)
		}
		var p peaks
		for piece := range slices.Chunk(b, 4096) {
			p.add(piece)
		}
		if got, want := p.bytes(), waveform(all); !bytes.Equal(got, want) {
			t.Errorf("%d frames: %d peaks, want %d", n, len(got), len(want))
		}
	}
}
