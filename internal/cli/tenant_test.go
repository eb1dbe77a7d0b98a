package cli_test

import (
	"strings"
	"testing"
)

func TestAnExplanationIsWrittenInWordsThenFieldsThenTheWaysOut(t *testing.T) {
	a := &answering{status: 200, body: `{"response":{"outcome":"ring","rule":"allocation","explanation":"It rings.","targets":["+918800000002"],` +
		`"trunks":[{"trunk":"out","state":"open","tried":true,"priority":1,"weight":2}]}}`}
	code, out, errs := run(t.Context(), "explain", "--virtual-number", "+914000000001", "--caller", "+919900000001", "--pin", "4801",
		"--tenant", "acme", "--account-sid", "ac_1", "--token", "x", "--server", serveAnswer(t, a))
	want := strings.Join([]string{"It rings.", "", "outcome  ring", "rule     allocation", "targets  +918800000002", "",
		"TRUNK  STATE  TRIED  PRIORITY  WEIGHT", "out    open   true   1         2", ""}, "\n")
	if code != 0 || out != want {
		t.Errorf("exit code %d, got\n%s\nwant\n%s%s", code, out, want, errs)
	}
	if a.got.URL.Path != "/v1/tenants/acme/routes/explain" || a.sent != `{"caller":"+919900000001","virtual_number":"+914000000001","pin":"4801"}` {
		t.Errorf("%s %s", a.got.URL.Path, a.sent)
	}
	if code, _, errs := run(t.Context(), "explain", "--tenant", "acme"); code != 2 || !strings.Contains(errs, "--virtual-number is missing") {
		t.Errorf("exit code %d: %s", code, errs)
	}
}

func TestCallsAreNarrowedAndWrittenAsTheTableThatTheServerGives(t *testing.T) {
	a := &answering{status: 200, body: "call_sid,from\r\ncall_1,+919900000001\r\n"}
	code, out, errs := run(t.Context(), "calls", "list", "--csv", "--cause", "busy", "--party", "+919900000001", "--answered", "false",
		"--tenant", "acme", "--account-sid", "ac_1", "--token", "x", "--server", serveAnswer(t, a))
	if code != 0 || out != a.body {
		t.Errorf("exit code %d, %q%s", code, out, errs)
	}
	if got := a.got.URL.RequestURI(); got != "/v1/tenants/acme/calls.csv?answered=false&cause=busy&party=%2B919900000001" {
		t.Errorf("asked for %s", got)
	}
}
