package b2bua

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/masking"
)

func TestTheSidesOfACallOfADeadNodeAreToldWhereItGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		f.connect()
		said := [2]string{A: f.caller.answers[0], B: string(f.b(1).dial.Offer)}
		g := f.overtaken()
		s := g.session()
		for i, l := range []*fakeLeg{g.caller, g.callee} {
			if len(l.offers) != 1 {
				t.Fatalf("leg %s is asked %d times: %v", l.name, len(l.offers), g.trace.all())
			}
			at, was, is := s.Local(Side(i)), audioOf(t, said[i]), audioOf(t, l.offers[0])
			if is.Addr != at || is.RTCP.Port() != at.Port()+1 || was.Addr == at || is.Direction != was.Direction {
				t.Errorf("leg %s is told %q after %q, and not to send to %v", l.name, l.offers[0], said[i], at)
			}
			if versionOf(t, l.offers[0]) != versionOf(t, said[i])+1 {
				t.Errorf("leg %s is told %q after %q", l.name, l.offers[0], said[i])
			}
			if slices.Contains(s.trusted, Side(i)) {
				t.Error("a side that has not agreed is sent to")
			}
			g.tell(l, Event{Kind: EvAgreed, Body: []byte(answerOfB)})
		}
		if !slices.Equal(s.trusted, []Side{A, B}) {
			t.Errorf("trusted are %v", s.trusted)
		}
		kept := g.journal.kept[g.id()]
		if len(kept) == 0 {
			t.Fatal("where the call is now is not kept")
		}
		state, err := kept[len(kept)-1]()
		if err != nil || !bytes.Contains(state, []byte("m=audio "+strings.Split(s.Local(A).String(), ":")[1])) {
			t.Errorf("kept is %s: %v", state, err)
		}
		wait(20 * time.Second)
		g.tell(g.callee, Event{Kind: EvHungUp})
		g.over(masking.CauseCalleeHungUp)
	})
}

// id is the id of the one call.
func (g *restart) id() masking.CallID {
	g.t.Helper()
	ids := g.Calls()
	if len(ids) != 1 {
		g.t.Fatalf("%d calls are up", len(ids))
	}
	return ids[0]
}

// versionOf is that of a description's o= line.
func versionOf(t *testing.T, body string) (version uint64) {
	t.Helper()
	for line := range strings.Lines(body) {
		if origin, ok := strings.CutPrefix(line, "o="); ok {
			version, err := strconv.ParseUint(strings.Fields(origin)[2], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return version
		}
	}
	t.Fatalf("no origin in %q", body)
	return 0
}

// Media of a side that goes on sending to the dead node would never be heard.
func TestACallOfADeadNodeEndsIfASideDoesNotAgreeToGoOn(t *testing.T) {
	for name, refuse := range map[string]func(*restart){
		"the caller refuses": func(g *restart) { g.tell(g.caller, Event{Kind: EvDeclined, Status: 488}) },
		"the callee refuses": func(g *restart) {
			g.tell(g.caller, Event{Kind: EvAgreed, Body: []byte(offerOfA)})
			g.tell(g.callee, Event{Kind: EvDeclined, Status: 403})
		},
		"the caller cannot be reached": func(g *restart) { g.tell(g.caller, Event{Kind: EvDeclined}) },
		"the callee says nothing": func(g *restart) {
			g.tell(g.caller, Event{Kind: EvAgreed, Body: []byte(offerOfA)})
			wait(moveWithin - time.Millisecond)
			if g.Live() != 1 {
				g.t.Error("it ends before its time")
			}
			wait(time.Millisecond)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newExchange(t, bob)
				f.connect()
				wait(10 * time.Second)
				g := f.overtaken()
				refuse(g)
				if r := g.over(masking.CauseNodeLost); r.TalkTime != 10*time.Second {
					t.Errorf("talked %v", r.TalkTime)
				}
			})
		})
	}
}

func TestACallThatAnotherNodeHasTakenEndsWithoutAWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		f.connect()
		f.LetGo([]masking.CallID{"another"})
		synctest.Wait()
		if f.Live() != 1 {
			t.Fatal("a call is let go that nobody has taken")
		}
		f.LetGo(f.Calls())
		synctest.Wait()
		if f.Live() != 0 || f.caller.ended() || f.b(1).ended() || !f.caller.abandoned || !f.b(1).abandoned || len(f.journal.of(masking.Ended)) != 0 {
			t.Errorf("%d calls are up: %v", f.Live(), f.trace.all())
		}
		if f.session().closed != 1 || f.trace.count("release") != 1 {
			t.Errorf("media closed %d times: %v", f.session().closed, f.trace.all())
		}
	})
}

// A node that has taken a call over can die before both sides know it.
func TestANodeThatDiesBeforeTheSidesAgreedTellsThemWhereItIsWhenItIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		f.connect()
		record, _ := f.talked()
		g := f.overtaken()
		g.die()
		wait(time.Second)
		h := f.takenUp(record, g.state, time.Second, false, true)
		h.Verify()
		synctest.Wait()
		if is := audioOf(t, h.caller.offers[0]); is.Addr != h.session().Local(A) {
			t.Errorf("side A is told %v; media is at %v", is.Addr, h.session().Local(A))
		}
		h.LetGo(h.Calls())
		synctest.Wait()
	})
}

// While the database is away a call that was taken waits to be told of; whoever drains
// then leaves it to the others.
func TestACallThatIsLetGoBeforeItsSidesAreAskedSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		f.connect()
		record, state := f.talked()
		f.die()
		g := f.takenUp(record, state, 0, false, true)
		done := make(chan struct{})
		go func() { g.Drain(t.Context()); close(done) }()
		synctest.Wait()
		g.LetGo(g.Calls())
		g.Verify()
		<-done
		if len(g.caller.offers)+len(g.callee.offers) != 0 || g.caller.ended() || g.callee.ended() || g.released != 1 ||
			len(g.journal.of(masking.Ended)) != 0 || g.session().closed != 1 {
			t.Errorf("%d released: %v", g.released, g.trace.all())
		}
	})
}
