package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	server "tandem/internal/testkit/postgres"
	"tandem/internal/voice/phone"
	"tandem/test/world"
)

// ops asks the ops address.
func (st *stage) ops(path string) (status int, body string) {
	st.t.Helper()
	res, err := http.Get("http://" + st.App.Addrs().Ops + path)
	st.must(err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	st.must(err)
	return res.StatusCode, string(b)
}

// until waits until something holds that no event tells of.
func (st *stage) until(what string, holds func() bool) {
	st.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-st.ctx.Done():
			st.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// refusedForNow fails unless requests are told when to come again.
func (st *stage) refusedForNow(method, path string, body any) {
	st.t.Helper()
	var status *world.Status
	if err := st.Do("acme", method, path, body, nil); !errors.As(err, &status) || status.Code != http.StatusServiceUnavailable {
		st.t.Errorf("%s %s: %v", method, path, err)
	}
}

// talkers are two talks, of alice with bob and of carol with dave.
func (st *stage) talkers() (talks [2][2]*phone.Call) {
	st.t.Helper()
	st.allocate(nil)
	_, err := st.Allocate("acme", virtual, []string{carol}, []string{dave}, nil)
	st.must(err)
	for i, who := range []string{alice, carol} {
		talks[i][0], talks[i][1] = st.talk(who, phone.Sine(440, 8000), phone.Sine(1000, 8000))
	}
	return talks
}

func (st *stage) hear(talk [2]*phone.Call) {
	st.t.Helper()
	st.must(talk[0].HearsTone(st.ctx, 1000))
	st.must(talk[1].HearsTone(st.ctx, 440))
}

func TestTalksGoOnWithoutTheDatabaseAndEverythingIsWrittenWhenItIsBack(t *testing.T) {
	srv := server.Start(t)
	st := newStage(t, setting{sharing: "shared", environ: []string{"TANDEM_DATABASE_URL=" + srv.URL(srv.Database(t, ""))}})
	talks := st.talkers()
	st.until("the answers to be written", func() bool { return st.App.Leftovers().Entries == 0 })

	srv.Kill()
	st.until("readiness to end", func() bool {
		status, body := st.ops("/readyz")
		return status == 503 && strings.Contains(body, "store")
	})
	late := st.dial(st.in, dave)
	if status := st.refused(late); status != 503 || !saysWhenToComeBack(late) {
		t.Errorf("a new call got %d", status)
	}
	st.refusedForNow("GET", "/v1/tenants/acme/calls", nil)
	st.refusedForNow("POST", "/v1/tenants/acme/greenvn", map[string]any{"caller_id_number": second, "from": []string{alice}, "to": []string{bob}})
	st.hear(talks[0])
	st.must(talks[1][0].Hangup(st.ctx))
	st.over(talks[1][0], talks[1][1])
	st.until("the end to be on disk", func() bool {
		_, text := st.ops("/metrics")
		return regexp.MustCompile(`(?m)^tandem_journal_spooled [1-9]`).MatchString(text)
	})
	st.hear(talks[0])

	srv.Run()
	st.until("readiness", func() bool { status, _ := st.ops("/readyz"); return status == 200 })
	st.hear(talks[0])
	st.until("what waits to be written", func() bool { return st.App.Leftovers().Entries == 0 })
	a, b := st.talk(dave, phone.Sine(440, 8000), phone.Sine(1000, 8000))
	st.hear([2]*phone.Call{a, b})
	st.must(a.Hangup(st.ctx))
	st.must(talks[0][1].Hangup(st.ctx))
	st.over(a, b, talks[0][0], talks[0][1])
	st.settle()
	st.closedOnce(map[string]int{"caller_hung_up": 2, "callee_hung_up": 1})
}

func TestWithoutTheDatabaseANodeThatMayRoutesByWhatItKnewLastAndSaysSo(t *testing.T) {
	srv := server.Start(t)
	st := newStage(t, setting{sharing: "shared", environ: []string{"TANDEM_DATABASE_URL=" + srv.URL(srv.Database(t, "")),
		"TANDEM_LAST_KNOWN_ROUTING_SECONDS=600"}})
	gone := st.allocate(nil)
	_, err := st.Allocate("acme", virtual, []string{carol}, []string{dave}, nil)
	st.must(err)
	_, err = st.OpenPin("acme", second, []string{alice}, []string{bob}, nil)
	st.must(err)
	known := func(claims int) {
		t.Helper()
		line := regexp.MustCompile(fmt.Sprintf(`(?m)^tandem_last_known_routes %d$`, claims))
		st.until("claims to be known", func() bool { _, text := st.ops("/metrics"); return line.MatchString(text) })
	}
	known(4)
	st.must(st.Do("acme", "DELETE", "/v1/tenants/acme/greenvn/"+gone.ID, nil, nil))
	known(2)

	srv.Kill()
	// A node is not ready from its first question on that has no answer, and routes so once it has looked again.
	st.until("the absence to be known", func() bool { return strings.Contains(st.Log.String(), "the database is away") })
	a, b := st.talk(carol, phone.Sine(440, 8000), phone.Sine(1000, 8000))
	st.hear([2]*phone.Call{a, b})
	for _, who := range []string{alice, "+914455667788"} { // deleted before, and never known: nobody can say so now
		c := st.dial(st.in, who)
		if status := st.refused(c); status != 503 || !saysWhenToComeBack(c) {
			t.Errorf("%s got %d", who, status)
		}
	}
	pin := st.dial(st.in, alice, func(in *phone.Invite) { in.To = second })
	if status := st.refused(pin); status != 503 {
		t.Errorf("who would enter a PIN got %d", status)
	}
	st.must(a.Hangup(st.ctx))
	st.over(a, b)
	st.nobodyCalled()

	srv.Run()
	st.until("readiness", func() bool { status, _ := st.ops("/readyz"); return status == 200 })
	a, b = st.talk(dave, phone.Sine(440, 8000), phone.Sine(1000, 8000))
	st.hear([2]*phone.Call{a, b})
	st.must(a.Hangup(st.ctx))
	st.over(a, b)
	st.settle()
	calls, err := st.Calls("acme")
	st.must(err)
	if len(calls) != 2 || calls[0].LastKnown || !calls[1].LastKnown || calls[1].From != carol {
		t.Errorf("calls %+v", calls)
	}
	st.closedOnce(map[string]int{"caller_hung_up": 2})
}

func TestAnOutageIsToldWhenItBeginsAndWhenItEndsAndNotMeanwhile(t *testing.T) {
	srv := server.Start(t)
	st := newStage(t, setting{sharing: "shared", environ: []string{"TANDEM_DATABASE_URL=" + srv.URL(srv.Database(t, ""))}})
	st.allocate(nil)
	a, b := st.talk(alice, phone.Sine(440, 8000), phone.Sine(1000, 8000))
	const gone, back = `"msg":"the database is away`, `"msg":"the database is back`

	srv.Kill()
	st.until("the absence to be known", func() bool { return strings.Contains(st.Log.String(), gone) })
	st.must(a.Hangup(st.ctx)) // its record waits
	st.over(a, b)
	st.refusedForNow("GET", "/v1/tenants/acme/calls", nil)
	since := time.Now()
	st.until("each job to have had its turn", func() bool { return time.Since(since) > 3*time.Second })
	srv.Run()
	st.until("readiness", func() bool { status, _ := st.ops("/readyz"); return status == 200 })
	st.settle()

	_, after, _ := strings.Cut(st.Log.String(), gone)
	_, during, _ := strings.Cut(after, "\n")
	during, _, found := strings.Cut(during, back)
	if !found || strings.Contains(after, gone) {
		t.Errorf("one beginning and one end: %s", after)
	}
	told := map[string]bool{}
	for line := range strings.Lines(during) {
		asked := strings.Contains(line, `"msg":"request"`) || strings.Contains(line, `"msg":"not ready"`)
		if asked || !strings.Contains(line, `"level":"WARN"`) && !strings.Contains(line, `"level":"ERROR"`) {
			continue
		}
		var said struct{ Msg, Job, Doing string }
		st.must(json.Unmarshal([]byte(line), &said))
		who := fmt.Sprint(said)
		if told[who] || strings.Contains(line, "the database is away") { // what was under way tells once how it ended
			t.Errorf("meanwhile: %s", line)
		}
		told[who] = true
	}
}

// closedOnce checks that every call has one record with its end, its ladder and its
// quality, each event once, and is counted once.
func (st *stage) closedOnce(causes map[string]int) {
	st.t.Helper()
	calls, err := st.Calls("acme")
	st.must(err)
	events, err := st.Events("acme")
	st.must(err)
	told := map[string]int{}
	for _, e := range events {
		if strings.HasPrefix(e.Type, "call.") {
			told[e.Type]++
		}
	}
	for _, c := range calls {
		causes[c.Cause]--
		one, err := st.Call("acme", c.ID)
		st.must(err)
		if c.Status != "ended" || one.Quality == nil || one.Quality.Caller.PacketsReceived == 0 ||
			!slices.ContainsFunc(one.Ladder.Messages, func(m world.LadderMessage) bool { return m.Method == "BYE" }) {
			st.t.Errorf("call %+v", one)
		}
	}
	for cause, n := range causes {
		if n != 0 {
			st.t.Errorf("%d more calls than were ended as %s", -n, cause)
		}
	}
	for _, typ := range []string{"call.ringing", "call.answered", "call.completed"} {
		if told[typ] != len(calls) {
			st.t.Errorf("%d times %s of %d calls", told[typ], typ, len(calls))
		}
	}
	if n, err := st.CallCounts("acme"); err != nil || n != len(calls) {
		st.t.Errorf("%d counted, %d records, %v", n, len(calls), err)
	}
}

// metric reads one that has no labels.
func (p *process) metric(name string) (value float64) {
	p.s.t.Helper()
	res, err := http.Get("http://" + p.addrs.Ops + "/metrics")
	p.s.must(err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	p.s.must(err)
	found := regexp.MustCompile("(?m)^" + name + " (.*)$").FindSubmatch(b)
	if found == nil {
		p.s.t.Fatalf("no metric %s", name)
	}
	value, err = strconv.ParseFloat(string(found[1]), 64)
	p.s.must(err)
	return value
}

// killWithoutDatabaseLosesNothing ends calls while the database is away, kills the node
// with what it has put on its disk, and lets both come back: the records are those of the
// calls as they were.
func killWithoutDatabaseLosesNothing(t *testing.T, s *site) {
	srv := server.Start(t)
	s.environ = append(s.environ, "TANDEM_DATABASE_URL="+srv.URL(srv.Database(t, "")))
	p := s.start()
	s.stay(p)
	c := s.connect(p)
	var talks [6][2]*phone.Call
	for i := range talks {
		talks[i][0], talks[i][1] = c.talk(p, c.pair(i))
	}
	s.written(p, len(talks))

	srv.Kill()
	for _, talk := range talks[:4] {
		s.must(talk[0].HearsTone(s.ctx, 1000))
		s.must(talk[0].Hangup(s.ctx))
		_, err := talk[1].Ended(s.ctx)
		s.must(err)
	}
	s.wait("four ends to be on disk", func() bool {
		return p.metric("tandem_calls_live") == 2 && p.metric("tandem_journal_spooled") >= 4 && p.metric("tandem_journal_waiting") == p.metric("tandem_journal_spooled")
	})
	p.kill()
	srv.Run()
	p = s.start()
	for _, talk := range talks[4:] { // they were not asked about the outage at all
		s.must(talk[0].HearsTone(s.ctx, 1000))
		s.must(talk[1].HearsTone(s.ctx, 440))
		s.must(talk[1].Hangup(s.ctx))
		_, err := talk[0].Ended(s.ctx)
		s.must(err)
	}
	s.wait("the last ends", func() bool { return s.told("call.completed") == len(talks) })
	s.ended(map[string]int{"caller_hung_up": 4, "callee_hung_up": 2})
	if left := p.metric("tandem_journal_spool_bytes"); left != 0 {
		t.Errorf("%v bytes are left in the data folder", left)
	}
}
