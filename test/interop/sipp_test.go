// Package interop tests Tandem against other people's software: sipp and baresip
// as carriers and parties, Kamailio as a carrier's proxy, tshark as the reader of what went over the wire.
package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"testing"
	"time"

	"tandem/test/world"
)

// parties matches the national numbers of all parties of a load.
var parties = regexp.MustCompile(`(99|88)000[0-9]{5}`)

// requests matches the ids of HTTP requests: so many random digits hold any number
// some day.
var requests = regexp.MustCompile(`req_[0-9a-f]{32}`)

// callers is how many callers take turns in a load; nobody calls twice at once.
const callers = 500

func TestSippPlacesAThousandCallsAtFiftyASecond(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			calls := 1000
			if network == "tcp" {
				calls = 200
			}
			placeCalls(t, network, calls)
		})
	}
}

func placeCalls(t *testing.T, network string, calls int) {
	w, err := world.Start(world.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.Close(20 * time.Second); err != nil {
			t.Error(err)
		}
	}()
	far := world.StartSipp(t, network, "-sn", "uas")
	if err := w.AddTrunk("carrier", map[string]any{"transport": network, "targets": []string{far.Addr}}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.NewTenant("acme", "shared", "+914000000001"); err != nil {
		t.Fatal(err)
	}
	numbers := filepath.Join(t.TempDir(), "callers.csv")
	csv := "SEQUENTIAL\n"
	for i := range callers {
		from, to := fmt.Sprintf("+9199000%05d", i), fmt.Sprintf("+9188000%05d", i)
		if _, err := w.Allocate("acme", "+914000000001", []string{from}, []string{to}, nil); err != nil {
			t.Fatal(err)
		}
		csv += from + ";\n"
	}
	if err := os.WriteFile(numbers, []byte(csv), 0o600); err != nil {
		t.Fatal(err)
	}
	before := runtime.NumGoroutine()
	caller := world.StartSipp(t, network, "-sf", absolute(t, "testdata/uac.xml"), "-inf", numbers, "-s", "+914000000001",
		"-m", strconv.Itoa(calls), "-r", "50", "-d", "2000", w.SIP(network).String())
	defer func() {
		if t.Failed() {
			t.Logf("%.6000s", w.Log.Lines("\"call\""))
		}
	}()
	caller.Wait(t, 3*time.Minute)
	checkRecords(t, w, calls)
	settled(t, before+10, runtime.NumGoroutine)
	if found := parties.FindString(requests.ReplaceAllString(w.Log.String(), "")); found != "" {
		t.Errorf("a party's number stands in the log:\n%s", w.Log.Lines(found))
	}
}

// checkRecords holds records, counts and events against the calls that were made.
func checkRecords(t *testing.T, w *world.World, calls int) {
	settled(t, 0, func() int { // also what is not written yet
		left := w.App.Leftovers()
		return left.Calls + left.Legs + left.Sessions + left.Entries
	})
	events, err := w.Events("acme")
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, e := range events {
		count[e.Type]++
	}
	for _, typ := range []string{"call.ringing", "call.answered", "call.completed"} {
		if count[typ] != calls {
			t.Errorf("%d events %s of %d calls", count[typ], typ, calls)
		}
	}
	records, err := w.Calls("acme")
	if err != nil {
		t.Fatal(err)
	}
	causes := map[string]int{}
	for _, c := range records {
		causes[c.Cause]++
	}
	if len(records) != calls || causes["caller_hung_up"] != calls {
		t.Errorf("%d records of %d calls, causes %v", len(records), calls, causes)
	}
	counted, err := w.CallCounts("acme")
	if err != nil || counted != calls {
		t.Errorf("call_count adds up to %d of %d calls (%v)", counted, calls, err)
	}
}

// settled waits until now gives at most want: what a call leaves behind goes with
// its last transaction, not with its BYE.
func settled(t *testing.T, want int, now func() int) {
	t.Helper()
	deadline := time.After(90 * time.Second)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for now() > want {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("still %d, want at most %d", now(), want)
		}
	}
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	p, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
