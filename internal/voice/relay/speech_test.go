package relay

import (
	"bytes"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/rtcp"
)

// speaking makes an engine whose time moves only when told to, and which looks
// at it all the time.
func speaking(t testing.TB, kind string) (*Engine, *clock) {
	now := newClock()
	e := engine(t, Options{Engine: kind, Now: now.Now})
	e.speaker.period = time.Millisecond
	return e, now
}

// spoken waits until all that is due by now has been said to both sides.
func (c call) spoken() {
	c.a.t.Helper()
	eventually(c.a.t, func() bool {
		for i := range c.ends {
			n := &c.ends[i]
			n.mu.Lock()
			behind := n.said != nil && (!n.said.begun || n.said.due <= c.engine.Elapsed()+frameTime/2)
			n.mu.Unlock()
			if behind {
				return false
			}
		}
		return true
	})
}

// talks sends the packet number n of a phone at A that began at 0.
func (c call) talks(n int, media string) {
	c.a.t.Helper()
	c.a.send(c.Local(A), packet(8, uint16(n), uint32(n)*160, 7, []byte(media)))
}

// phrase is the audio of frames that each hold one letter.
func phrase(letters string) (audio []byte) {
	for _, l := range []byte(letters) {
		audio = append(audio, bytes.Repeat([]byte{l}, frameOctets)...)
	}
	return audio
}

func TestSpeechAndTalkAreOneStream(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		e, now := speaking(t, kind)
		c := newCall(t, e)
		done := make(chan struct{}, 2)
		var list []header
		var said []byte
		next := func() {
			h, media := c.b.media()
			list, said = append(list, h), append(said, media[0])
			now.advance(frameTime)
		}
		for n := range 3 {
			c.talks(n, "talk")
			next()
		}
		audio := append(phrase("abc"), 'd')
		c.Play(B, Speech{Payload: 0, Audio: audio, Fill: 'f', Done: func() { done <- struct{}{} }})
		for n := range 3 {
			next()
			c.talks(4+n, "held")
			eventually(t, func() bool { return c.Stats()[A].Held == uint64(n+1) })
		}
		h, last := c.b.media()
		if want := append([]byte{'d'}, bytes.Repeat([]byte{'f'}, frameOctets-1)...); !bytes.Equal(last, want) {
			t.Errorf("the last frame is %q", last)
		}
		list, said = append(list, h), append(said, last[0])
		now.advance(frameTime)
		<-done
		for n := range 3 {
			c.talks(7+n, "talk")
			next()
		}
		if string(said) != "tttabcdttt" {
			t.Errorf("B heard %q", said)
		}
		for i, h := range list {
			first, speech := list[0], i >= 3 && i < 7
			if h.ssrc != first.ssrc || h.sequence != first.sequence+uint16(i) || h.timestamp != first.timestamp+uint32(i)*160 {
				t.Errorf("packet %d is %+v after %+v", i, h, first)
			}
			if h.marker != (i == 3) || (h.payload == 0) != speech {
				t.Errorf("packet %d has marker %v and payload %d", i, h.marker, h.payload)
			}
		}
		if st := c.Close(); st[B].PacketsOut != 10 || st[B].BytesOut != 6*4+4*frameOctets || st[A].Held != 3 || st[B].Unsent != 0 || len(done) != 0 {
			t.Errorf("%+v, and %d more times at its end", st, len(done))
		}
	})
}

func TestASideThatIsAloneIsSpokenTo(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		e, now := speaking(t, kind)
		c := newSilent(t, e)
		c.connect(A, c.a.remote())
		c.Play(A, Speech{Payload: 8, Audio: phrase("xy")})
		first, _ := c.a.media()
		now.advance(frameTime)
		second, got := c.a.media()
		if second.sequence != first.sequence+1 || second.timestamp != first.timestamp+160 || got[0] != 'y' {
			t.Errorf("%+v after %+v", second, first)
		}
		now.advance(frameTime)
		c.spoken()
		c.connect(B, c.b.remote())
		c.b.send(c.Local(B), packet(0, 900, 900, 900, []byte("callee")))
		if h, got := c.a.media(); string(got) != "callee" || h.sequence != first.sequence+2 || h.timestamp != first.timestamp+320 || h.ssrc != first.ssrc {
			t.Errorf("%q as %+v after %+v", got, h, first)
		}
	})
}

func TestASideThatIsHeldMissesWhatIsSaidMeanwhile(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		e, now := speaking(t, kind)
		c := newCall(t, e)
		done := make(chan struct{}, 1)
		c.Play(B, Speech{Payload: 8, Audio: phrase("abcdef"), Done: func() { done <- struct{}{} }})
		first, _ := c.b.media()
		hold := c.b.remote()
		hold.Send = false
		c.connect(B, hold)
		for range 3 {
			now.advance(frameTime)
			c.spoken()
		}
		c.connect(B, c.b.remote())
		now.advance(frameTime)
		h, got := c.b.media()
		if got[0] != 'e' || !h.marker || h.sequence != first.sequence+1 || h.timestamp != first.timestamp+4*160 {
			t.Errorf("%c with %+v after %+v", got[0], h, first)
		}
		c.connect(B, hold)
		for range 2 {
			now.advance(frameTime)
			c.spoken()
		}
		<-done
		c.b.empty()
	})
}

func TestASideWithoutAnAddressIsSpokenToInVain(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		e, now := speaking(t, kind)
		s := opened(t, e)
		c := call{Session: s, a: newPhone(t, "127.0.0.1")}
		done := make(chan struct{}, 1)
		c.Play(A, Speech{Payload: 8, Audio: phrase("a"), Done: func() { done <- struct{}{} }})
		c.spoken()
		c.Play(A, Speech{Payload: Drop, Audio: phrase("b"), Loop: true}) // nor is it with a number that has none
		c.spoken()
		c.connect(A, c.a.remote())
		now.advance(frameTime)
		c.spoken()
		c.Play(A, Speech{Payload: 8, Audio: phrase("c"), Done: func() { done <- struct{}{} }})
		now.advance(frameTime)
		if h, got := c.a.media(); got[0] != 'c' || !h.marker {
			t.Errorf("%c with %+v", got[0], h)
		}
		now.advance(frameTime)
		<-done
		if st := c.Close(); st[A].PacketsOut != 1 || len(done) != 0 {
			t.Errorf("%+v, %d speeches more came to their end", st[A], len(done))
		}
	})
}

func TestASpeakerThatWasLateSaysAFewFramesAndMovesTimeOn(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		e, now := speaking(t, kind)
		c := newCall(t, e)
		c.Play(B, Speech{Payload: 8, Audio: phrase("abcdefg")})
		first, _ := c.b.media()
		expect := func(letter byte, at time.Duration, sequence uint16, marker bool) {
			t.Helper()
			h, got := c.b.media()
			if got[0] != letter || h.sequence != first.sequence+sequence || h.timestamp != first.timestamp+ticks(at, 8000) || h.marker != marker {
				t.Errorf("%c is %+v after %+v", got[0], h, first)
			}
		}
		now.advance(500 * time.Millisecond)
		expect('b', 20*time.Millisecond, 1, false)
		expect('c', 40*time.Millisecond, 2, false)
		expect('d', 60*time.Millisecond, 3, false)
		c.spoken()
		c.b.empty()
		now.advance(20 * time.Millisecond)
		expect('e', 520*time.Millisecond, 4, true)
		now.advance(40 * time.Millisecond) // one tick was late, which loses nothing
		expect('f', 540*time.Millisecond, 5, false)
		expect('g', 560*time.Millisecond, 6, false)
	})
}

func TestSpeechLastsAsLongAsItShould(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		c := newCall(t, engine(t, Options{Engine: kind}))
		done := make(chan struct{})
		begun := time.Now()
		c.Play(B, Speech{Payload: 8, Audio: phrase("abcdefghij"), Done: func() { close(done) }})
		first, _ := c.b.media()
		for i := range uint16(9) {
			if h, got := c.b.media(); h.sequence != first.sequence+i+1 || got[0] != byte('b'+i) {
				t.Errorf("%c is %+v after %+v", got[0], h, first)
			}
		}
		if d := time.Since(begun); d < 160*time.Millisecond {
			t.Errorf("ten frames left within %v", d)
		}
		<-done
		if d := time.Since(begun); d < 180*time.Millisecond {
			t.Errorf("200 ms were over after %v", d)
		}
		eventually(t, func() bool {
			c.engine.speaker.mu.Lock()
			defer c.engine.speaker.mu.Unlock()
			return !c.engine.speaker.running
		})
		c.Play(A, Speech{Payload: 8, Audio: phrase("k")})
		if _, got := c.a.media(); got[0] != 'k' {
			t.Errorf("after a rest of the speaker %c is said", got[0])
		}
	})
}

func TestALoopGoesRoundWithoutASeam(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		for name, audio := range map[string][]byte{"longer than a frame": random(250), "shorter": random(7), "a frame": random(frameOctets)} {
			e, now := speaking(t, kind)
			c := newCall(t, e)
			c.Play(B, Speech{Payload: 8, Audio: audio, Loop: true})
			var got []byte
			for range 10 {
				_, media := c.b.media()
				got = append(got, media...)
				now.advance(frameTime)
			}
			if want := bytes.Repeat(audio, 1+len(got)/len(audio))[:len(got)]; !bytes.Equal(got, want) {
				t.Errorf("%s: not said again as it is", name)
			}
		}
		e, _ := speaking(t, kind)
		c := newCall(t, e)
		c.Play(B, Speech{Payload: 8, Fill: 0xD5, Loop: true})
		if _, got := c.b.media(); !bytes.Equal(got, bytes.Repeat([]byte{0xD5}, frameOctets)) {
			t.Errorf("of nothing %x is made", got)
		}
	})
}

func TestSpeechThatIsReplacedKeepsStepAndNeverEnds(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		e, now := speaking(t, kind)
		c := newCall(t, e)
		var replaced, ended atomic.Int32
		c.Play(B, Speech{Payload: 8, Audio: phrase("ab"), Done: func() { replaced.Add(1) }})
		c.Play(B, Speech{Payload: 8, Audio: phrase("cd"), Done: func() { replaced.Add(1) }})
		first, _ := c.b.media()           // a or c, as the tick came
		now.advance(5 * time.Millisecond) // in the middle of a frame
		c.Play(B, Speech{Payload: 8, Audio: phrase("e"), Done: func() { ended.Add(1) }})
		c.spoken()
		now.advance(15 * time.Millisecond)
		if h, got := c.b.media(); got[0] != 'e' || !h.marker || h.timestamp != first.timestamp+160 || h.sequence != first.sequence+1 {
			t.Errorf("%c as %+v after %+v", got[0], h, first)
		}
		now.advance(frameTime)
		eventually(t, func() bool { return ended.Load() == 1 })
		c.b.empty()
		if replaced.Load() != 0 {
			t.Error("what was replaced came to its end")
		}
	})
}

func TestNothingIsSaidOnceSilenceHasReturned(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		e := engine(t, Options{Engine: kind})
		e.speaker.period = 100 * time.Microsecond
		c, other := newCall(t, e), newCall(t, e)
		for range 20 {
			c.Play(B, Speech{Payload: 8, Audio: phrase("abc"), Done: func() { t.Error("it came to its end") }})
			c.b.media()
			quiet := make(chan uint64)
			go func() { // the call hears a key while the engine speaks
				c.Silence(B)
				quiet <- c.Stats()[B].PacketsOut
			}()
			before := <-quiet
			done := make(chan struct{})
			other.Play(B, Speech{Payload: 8, Audio: phrase("xx"), Done: func() { close(done) }})
			<-done
			if after := c.Stats()[B].PacketsOut; after != before {
				t.Fatalf("%d packets had left, then %d", before, after)
			}
		}
	})
}

func TestNothingIsSaidAfterClose(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		e, now := speaking(t, kind)
		c := newCall(t, e)
		ended := func() { t.Error("it came to its end") }
		c.Play(B, Speech{Payload: 8, Audio: phrase("a"), Done: ended})
		c.b.media()
		st := c.Close()
		c.Play(A, Speech{Payload: 8, Audio: phrase("a"), Done: ended})
		now.advance(frameTime)
		other := newCall(t, e)
		done := make(chan struct{})
		other.Play(B, Speech{Done: func() { close(done) }})
		<-done
		c.a.empty()
		c.b.empty()
		if st[B].PacketsOut != 1 || st[B].Unsent != 0 {
			t.Errorf("%+v", st[B])
		}
	})
}

func TestReportsCountWhatIsSaid(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		e, now := speaking(t, kind)
		c := newCall(t, e)
		c.talks(0, "talk")
		c.b.media()
		now.advance(frameTime)
		c.Play(B, Speech{Payload: 8, Audio: phrase("ab")})
		c.b.media()
		now.advance(frameTime)
		h, _ := c.b.media()
		c.spoken()
		now.advance(5 * time.Millisecond)
		c.sendReport(B, false)
		p, ok := unmarshal(t, c.b.receive(c.b.rtcp))[0].(*rtcp.SenderReport)
		if !ok || p.SSRC != h.ssrc || p.PacketCount != 3 || p.OctetCount != 4+2*frameOctets || p.RTPTime != h.timestamp+40 {
			t.Errorf("B is told %+v after %+v", p, h)
		}
	})
}

func TestASpokenFrameAllocatesNothing(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		c := newCall(t, engine(t, Options{Engine: kind}))
		v := &saying{Speech: Speech{Payload: 8, Audio: random(1000), Loop: true}, session: c.Session, side: B}
		n := &c.ends[A]
		n.mu.Lock()
		n.said = v
		n.mu.Unlock()
		sp := newSpeaker(c.engine) // its goroutine does not run
		sp.speeches = []*saying{v}
		now := time.Duration(0)
		allocations := testing.AllocsPerRun(500, func() {
			now += frameTime
			sp.gather()
			sp.tick(now)
		})
		if out := c.Stats()[B].PacketsOut; allocations != 0 || out != 501 {
			t.Errorf("%v allocations in each of %d frames", allocations, out)
		}
	})
}
