package e2e

import (
	"encoding/json"
	"flag"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"tandem/internal/app"
	"tandem/internal/testkit"
	"tandem/internal/voice/b2bua"
	"tandem/internal/voice/phone"
	"tandem/internal/voice/siptx"
)

var (
	fuzzSeed  = flag.Uint64("fuzzseed", 0, "seed of the mad carrier; 0 = the time")
	fuzzSteps = flag.Int("fuzzsteps", 6000, "messages of the mad carrier")
)

// A carrier that keeps to no rule cannot hurt the server, the calls of others, the
// records or the secrecy.
func TestAMadCarrierHurtsNobody(t *testing.T) {
	seed := *fuzzSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("go test ./test/e2e -run %s -fuzzseed %d -fuzzsteps %d", t.Name(), seed, *fuzzSteps)
	st := newStage(t, setting{edit: func(o *app.Options) {
		o.SIPTimers = siptx.Timers{T1: 20 * time.Millisecond, T2: 100 * time.Millisecond, T4: 100 * time.Millisecond, D: time.Second}
		o.CallWaits = b2bua.Timing{MediaFirst: 2 * time.Second, MediaLater: 2 * time.Second, MediaChecks: 200 * time.Millisecond}
	}})
	st.allocate(nil)
	mad, theirs := st.madCarrier(seed)
	a, b := st.talk(alice, phone.Sine(440, 8000), phone.Sine(880, 8000))
	hear := func() {
		t.Helper()
		st.must(b.HearsTone(st.ctx, 440))
		st.must(a.HearsTone(st.ctx, 880))
	}
	hear()
	deadline := time.Now().Add(14 * time.Second)
	for i := range *fuzzSteps {
		mad.step()
		if i%16 == 15 {
			mad.ping()
		}
		if i == *fuzzSteps/2 {
			hear()
		}
		if time.Now().After(deadline) {
			t.Logf("stopped after %d steps", i)
			break
		}
	}
	hear()
	t.Logf("the carrier was told %v, %d pings lost", mad.seen, mad.lost)
	for _, id := range theirs {
		st.must(st.Do("acme", "DELETE", "/v1/tenants/acme/greenvn/"+id+"?terminate_calls=true", nil, nil))
	}
	st.must(a.Hangup(st.ctx))
	st.over(a, b)
	st.settle()

	a, b = st.talk(alice, phone.Sine(440, 8000), phone.Sine(880, 8000))
	hear()
	st.must(b.Hangup(st.ctx))
	st.over(a, b)
	st.settle()
	st.everyCallIsRecordedOnce()
	st.nothingBroke(mad)
}

// madCarrier makes the trunk, the numbers and the allocations of a mad carrier, and
// keeps the honest carriers out of it.
func (st *stage) madCarrier(seed uint64) (mad *madCarrier, allocations []string) {
	st.t.Helper()
	numbers := []string{second, "+914000000003", "+914000000004", "+914000000005", "+914000000006", "+914000000007"}
	var callers []string
	for i := range 10 * len(numbers) {
		callers = append(callers, "+9173518206"+fmt.Sprintf("%02d", i))
	}
	st.must(st.AddNumbers("acme", "exclusive", numbers[1:]...))
	mad = newMadCarrier(st, seed, "127.0.0.5", callers, append(numbers, virtual, "+914099999999"))
	st.must(st.Do("", "PUT", "/v1/admin/trunks/carrier-out", map[string]any{"caller_ids": []string{virtual}}, nil))
	st.must(st.AddTrunk("carrier-mad", map[string]any{"sources": []string{"127.0.0.5/32"}, "targets": []string{mad.addr("udp")},
		"caller_ids": numbers}))
	for i, n := range numbers {
		to := []string{"+91746293170" + strconv.Itoa(i), "+91746293180" + strconv.Itoa(i)}
		a, err := st.Allocate("acme", n, callers[10*i:10*i+10], to, nil)
		st.must(err)
		allocations = append(allocations, a.ID)
	}
	return mad, allocations
}

// everyCallIsRecordedOnce looks at all records and events of calls.
func (st *stage) everyCallIsRecordedOnce() {
	st.t.Helper()
	events, err := st.Events("acme")
	st.must(err)
	times := map[string]map[string]int{} // how often each type of event, by call
	for _, e := range events {
		if !strings.HasPrefix(e.Type, "call.") {
			continue
		}
		var data struct {
			Call string `json:"call_sid"`
		}
		st.must(json.Unmarshal(e.Data, &data))
		if times[data.Call] == nil {
			times[data.Call] = map[string]int{}
		}
		times[data.Call][e.Type]++
		if n := times[data.Call]; n["call.completed"]+n["call.rejected"] > 1 || n[e.Type] > 1 {
			st.t.Errorf("%s: %v", data.Call, n)
		}
	}
	calls, err := st.Calls("acme")
	st.must(err)
	answered, records, causes := 0, map[string]bool{}, map[string]int{}
	for _, c := range calls {
		if records[c.ID] {
			st.t.Errorf("%s has two records", c.ID)
		}
		records[c.ID] = true
		causes[strings.TrimSpace(c.Cause+" "+c.Reason)]++
		if n := times[c.ID]; n["call.completed"]+n["call.rejected"] != 1 || c.Cause == "" {
			st.t.Errorf("%s ended with cause %q and the events %v", c.ID, c.Cause, n)
		}
		answered += times[c.ID]["call.answered"]
	}
	for id := range times {
		if !records[id] {
			st.t.Errorf("%s has events and no record", id)
		}
	}
	st.t.Logf("%d call records, %d of them answered: %v", len(calls), answered, causes)
	if want := *fuzzSteps / 40; len(calls) < want || answered < want/10 {
		st.t.Errorf("too few calls to prove anything: %d, %d answered", len(calls), answered)
	}
}

// nothingBroke looks at the counters, at the log, and at the INVITEs that the
// carrier got.
func (st *stage) nothingBroke(mad *madCarrier) {
	st.t.Helper()
	metrics, err := st.Metrics()
	st.must(err)
	for name, want := range map[string]bool{"tandem_sip_panics_total": false, "tandem_leaks_blocked_total": false, "tandem_sip_malformed_total": true} {
		value := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(metrics)
		if value == nil || (value[1] != "0") != want {
			st.t.Errorf("%s is %v", name, value)
		}
	}
	waitFor(st.t, st.ctx, func() bool {
		metrics, err := st.Metrics()
		return err == nil && strings.Contains(metrics, "\ntandem_sip_server_transactions 0\n") &&
			strings.Contains(metrics, "\ntandem_sip_client_transactions 0\n")
	}, "the end of the last transaction")
	for _, bad := range []string{"fault in a call", "panic", "flooded", "without a word"} {
		if lines := st.Log.Lines(bad); lines != "" {
			st.t.Errorf("in the log: %s", lines)
		}
	}
	numbers := append([]string{alice, bob}, mad.callers...)
	hidden := testkit.NewLeakDetector(numbers...)
	testkit.AssertNoLeak(st.t, hidden, "the log", []byte(st.Log.String()))
	for i, invite := range mad.invites {
		if i < 100 {
			testkit.AssertNoLeak(st.t, hidden, "an INVITE of ours", []byte(invite))
		}
	}
}
