package e2e

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"tandem/internal/testkit"
	"tandem/internal/voice/phone"
	"tandem/test/world"
)

// arrows writes a kept ladder in short: leg, direction, message.
func arrows(l world.Ladder) (list []string) {
	for _, m := range l.Messages {
		to := m.Leg + " <- "
		if m.Direction == "in" {
			to = m.Leg + " -> "
		}
		text := to + m.Message
		if m.Again {
			text += " again"
		}
		list = append(list, text)
	}
	return list
}

// ladder settles and gives the ladder of the one call there is.
func (st *stage) ladder() world.Ladder {
	st.t.Helper()
	c, err := st.Call("acme", st.record().ID)
	st.must(err)
	return c.Ladder
}

// inOrder fails unless the messages of each leg are these.
func inOrder(t *testing.T, l world.Ladder, want map[string]string) {
	t.Helper()
	got := map[string][]string{}
	for i, m := range l.Messages {
		if got[m.Leg] = append(got[m.Leg], strings.TrimPrefix(arrows(l)[i], m.Leg+" ")); i > 0 && m.Offset < l.Messages[i-1].Offset {
			t.Errorf("message %d is of an earlier time than the one before", i)
		}
	}
	for leg, list := range want {
		if g := strings.Join(got[leg], ", "); g != list {
			t.Errorf("leg %s:\n got %s\nwant %s", leg, g, list)
		}
	}
}

func TestTheLadderOfACallIsKeptWithItsRecord(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	st.allocate(nil)
	a, b := st.talk(alice, nil, nil)
	live, err := st.Calls("acme")
	st.must(err)
	if len(live) == 1 { // its record may not be written yet
		c, err := st.Call("acme", live[0].ID)
		st.must(err)
		if !strings.Contains(strings.Join(arrows(c.Ladder), ","), "a <- 200 OK") {
			t.Errorf("the ladder of a call that is up: %v", arrows(c.Ladder))
		}
	}
	st.must(a.Hangup(st.ctx))
	st.over(a, b)
	l := st.ladder()
	inOrder(t, l, map[string]string{
		"a":  "-> INVITE, <- 100 Trying, <- 180 Ringing, <- 200 OK, -> ACK, -> BYE, <- 200 OK",
		"b1": "<- INVITE, -> 180 Ringing, -> 200 OK, <- ACK, <- BYE, -> 200 OK",
	})
	if len(l.Legs) != 2 || l.Legs[0] != (world.LadderLeg{Leg: "a", Trunk: "carrier-in", Transport: "udp"}) ||
		l.Legs[1] != (world.LadderLeg{Leg: "b1", Trunk: "carrier-out", Transport: "udp"}) {
		t.Errorf("legs %+v", l.Legs)
	}
	first := l.Messages[0]
	if first.Number != "+91…01" || !strings.Contains(first.SDP, "PCMA") || !strings.HasSuffix(first.SDP, "sendrecv") || first.Offset != 0 {
		t.Errorf("the first INVITE %+v", first)
	}
	for _, m := range l.Messages {
		if m.Leg == "b1" && m.Message == "INVITE" && m.Number != "+91…02" {
			t.Errorf("the INVITE to the callee %+v", m)
		}
	}
	var shown map[string]json.RawMessage
	st.must(st.Do("", "GET", "/v1/admin/calls/"+st.record().ID, nil, &shown))
	testkit.AssertNoLeak(t, testkit.NewLeakDetector(alice, bob), "what the operator is shown", shown["ladder"], shown["legs"], shown["from"], shown["to"])
	var admin world.Call
	st.must(st.Do("", "GET", "/v1/admin/calls/"+st.record().ID, nil, &admin))
	if len(admin.Ladder.Messages) != len(l.Messages) || admin.From != "+91…01" || admin.Legs[0].To != "+91…02" {
		t.Errorf("the operator is shown %+v", admin)
	}
}

func TestTheLadderShowsEachAttemptAndWhatEndedIt(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	_, err := st.Allocate("acme", virtual, []string{alice}, []string{bob, carol}, nil)
	st.must(err)
	a := st.dial(st.in, alice)
	first := st.called()
	st.must(first.Reject(486, "Busy Here", phone.Header{Name: "Reason", Value: `Q.850;cause=17;text="` + bob + ` is busy"`}))
	second := st.called()
	st.must(second.Ring(phone.Reply{}))
	st.must(a.Ringing(st.ctx))
	st.must(a.Cancel())
	st.over(a, first, second)
	l := st.ladder()
	inOrder(t, l, map[string]string{
		"a":  "-> INVITE, <- 100 Trying, <- 180 Ringing, -> CANCEL, <- 200 OK, <- 487 Request Terminated, -> ACK",
		"b1": "<- INVITE, -> 486 Busy Here, <- ACK",
		"b2": "<- INVITE, -> 180 Ringing, <- CANCEL, -> 200 OK, -> 487 Request Terminated, <- ACK",
	})
	for _, m := range l.Messages {
		if m.Message == "486 Busy Here" && strings.Join(m.Fields, ", ") != "Reason: Q.850;cause=17" {
			t.Errorf("the refusal says %v", m.Fields)
		}
	}
}

func TestTheLadderOfACallThatWasNeverRoutedIsKept(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	st.allocate(nil)
	if got := st.refused(st.dial(st.in, carol)); got != 403 {
		t.Errorf("a stranger got %d", got)
	}
	inOrder(t, st.ladder(), map[string]string{
		"a": "-> INVITE, <- 100 Trying, <- 183 Session Progress, <- 403 Forbidden, -> ACK"})
}

// Which keys make up a PIN is in no ladder, however it was entered.
func TestNoDigitOfAPINStandsInALadder(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	p := st.pin(alice, bob, nil)
	a := st.asked(st.in, alice)
	st.must(a.Press(st.ctx, p.PIN+"#", phone.Press{How: phone.INFO}))
	b := st.talks(a)
	st.must(a.Hangup(st.ctx))
	st.over(a, b)
	digits := 0
	for _, m := range st.ladder().Messages {
		if m.Method == "INFO" && m.Status == 0 {
			digits++
			if !m.Digit || len(m.Fields) > 0 || m.Number != "" || m.SDP != "" {
				t.Errorf("an INFO is kept as %+v", m)
			}
		}
	}
	if digits != len(p.PIN)+1 {
		t.Errorf("%d of %d keys in the ladder", digits, len(p.PIN)+1)
	}
}

// noNumberInALadder looks through the ladders that a test's calls have left: it is run
// after each of them.
func noNumberInALadder(st *stage) {
	st.t.Helper()
	calls, err := st.Calls("acme")
	if errors.As(err, new(*world.Status)) || err != nil {
		return // the test has taken the server or the tenant away
	}
	d := testkit.NewLeakDetector(alice, bob, carol, dave)
	for _, c := range calls[:min(len(calls), 30)] {
		var kept struct {
			Ladder json.RawMessage `json:"ladder"`
		}
		if st.Do("acme", "GET", "/v1/tenants/acme/calls/"+c.ID, nil, &kept) == nil {
			testkit.AssertNoLeak(st.t, d, "the ladder of "+c.ID, kept.Ladder)
		}
	}
}

// noNumberExported looks through all that the server of a test has sent to its
// collector, once it is closed.
func noNumberExported(st *stage, homer *world.Collector) {
	st.t.Helper()
	st.must(homer.Close())
	d := testkit.NewLeakDetector(alice, bob, carol, dave)
	messages := homer.Messages()
	for _, m := range messages[:min(len(messages), 3000)] {
		testkit.AssertNoLeak(st.t, d, "what is exported", m.SIP)
	}
}

func TestBothLegsOfACallAreExportedAsOne(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	st.allocate(nil)
	a, b := st.talk(alice, nil, nil)
	st.must(b.Hangup(st.ctx))
	st.over(a, b)
	id := st.record().ID
	seen := map[string]int{}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for seen["SIP/2.0"] < 7 {
		select {
		case <-tick.C:
		case <-st.ctx.Done():
			t.Fatalf("exported: %v", seen)
		}
		clear(seen)
		for _, m := range st.homer.Messages() {
			if m.Call == id {
				line, _, _ := strings.Cut(string(m.SIP), " ")
				seen[line]++
			}
		}
	}
	if seen["INVITE"] != 2 || seen["ACK"] != 2 || seen["BYE"] != 2 || seen["SIP/2.0"] != 7 {
		t.Errorf("exported: %v", seen)
	}
}

func TestCallsAreCountedByCauseByAttemptAndByMessage(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	_, err := st.Allocate("acme", virtual, []string{alice}, []string{bob, carol}, nil)
	st.must(err)
	a := st.dial(st.in, alice)
	st.must(st.called().Reject(486, "Busy Here"))
	b := st.called()
	st.must(b.Ring(phone.Reply{}))
	st.must(b.Answer(phone.Reply{}))
	st.must(a.Answered(st.ctx))
	st.must(a.Hangup(st.ctx))
	st.over(a, b)
	st.refused(st.dial(st.in, dave))
	st.settle()
	metrics, err := st.Metrics()
	st.must(err)
	for _, line := range []string{
		`tandem_calls_ended_total{cause="caller_hung_up"} 1`,
		`tandem_calls_refused_total{reason="stranger"} 1`,
		`tandem_attempts_total{outcome="busy",trunk="carrier-out"} 1`,
		`tandem_attempts_total{outcome="answered",trunk="carrier-out"} 1`,
		`tandem_post_dial_delay_seconds_count 1`,
		`tandem_ring_seconds_count 1`,
		`tandem_call_talk_seconds_count 1`,
		`tandem_sip_requests_total{direction="out",method="BYE"} 1`,
		`tandem_sip_requests_total{direction="in",method="INVITE"} 2`,
		`tandem_sip_responses_total{class="4xx",direction="in"} 1`,
		`tandem_sip_responses_total{class="4xx",direction="out"} 1`,
	} {
		if !strings.Contains(metrics, line+"\n") {
			t.Errorf("without %s", line)
		}
	}
}
