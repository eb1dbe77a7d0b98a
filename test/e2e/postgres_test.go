package e2e

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	server "tandem/internal/testkit/postgres"
	"tandem/test/world"
)

// The way from HTTP to the record, PINs, recordings, guards, webhooks and the stream, as
// the tests of this package try them on SQLite.
func TestTheWholeProgramWorksOnPostgreSQL(t *testing.T) {
	srv := server.Start(t, "max_connections=500")
	tests := []string{"TestEitherSideCallsAndSeesOnlyTheVirtualNumber", "TestWhoMayNotPassHearsTheSameWordsAndRingsNobody",
		"TestNumbersTakeTurnsAndWhoAnsweredLastIsRungFirst", "TestAPINOpensThePairItBelongsTo", "TestARecordingHoldsTheCallerLeftAndTheCalleeRight",
		"TestEachGuardRefusesTheCallBeyondItAndSaysWhy", "TestWhatHappensArrivesSignedAndInOrder", "TestAStreamTellsOfACallAndEndsWhenTheServerStops",
		"TestWhatIsExplainedIsWhatACallThenGets"}
	allPass(t, srv, "true", tests)
	// What nodes find out by themselves, if nobody wakes them.
	allPass(t, srv, "false", tests[len(tests)-3:len(tests)-1])
}

// allPass runs tests of this package in a process of their own, on a server.
func allPass(t *testing.T, srv *server.Server, notify string, tests []string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.v", "-test.run", "^("+strings.Join(tests, "|")+")$")
	cmd.Env = append(os.Environ(), server.DSN+"="+srv.URL("postgres"), world.Notify+"="+notify)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range tests {
		if !strings.Contains(string(out), "--- PASS: "+name) {
			t.Errorf("%s did not pass\n%s", name, out)
		}
	}
}
