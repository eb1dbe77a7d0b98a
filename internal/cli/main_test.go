package cli_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"tandem/internal/cli"
	"tandem/internal/voice/phone"
)

func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){"tandem": tandem})
}

// tandem is the program as the scripts run it, in a process of its own.
func tandem() {
	os.Exit(cli.Run(context.Background(), cli.Process{Name: "tandem", Args: os.Args[1:], Environ: os.Environ(),
		Version: "1.2.3-test", In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}

// leakChecked fails a run of tests that leaves goroutines behind.
type leakChecked struct{ *testing.M }

func (l leakChecked) Run() int {
	code := l.M.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// The scripts say in their file names and first lines what they show.
func TestTheProgramDoesWhatTheScriptsSay(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"eventually": eventually,
			"addresses":  addresses,
			"setmatch":   setMatch,
			"filemode":   fileMode,
			"stopped":    stopped,
			"carrier":    carrier,
		},
	})
}

// within bounds every wait of a script.
const within = 30 * time.Second

// retry calls f until it says true.
func retry(f func() bool) bool {
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	limit := time.After(within)
	for {
		if f() {
			return true
		}
		select {
		case <-again.C:
		case <-limit:
			return false
		}
	}
}

// eventually REGEXP COMMAND… runs a command until it succeeds and its output
// matches; with "!", until it fails.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: eventually REGEXP COMMAND…")
	}
	pattern := regexp.MustCompile(args[0])
	if !retry(func() bool {
		err := ts.Exec(args[1], args[2:]...)
		if neg {
			return err != nil && pattern.MatchString(ts.ReadFile("stderr"))
		}
		return err == nil && pattern.MatchString(ts.ReadFile("stdout"))
	}) {
		ts.Fatalf("never: %q of %q", args[0], args[1:])
	}
}

// addresses DATADIR waits for a server and sets HTTP, OPS and SIP, which is the
// first address without its scheme.
func addresses(ts *testscript.TestScript, _ bool, args []string) {
	var a struct {
		HTTP, Ops string
		SIP       []string
	}
	pattern := filepath.Join(ts.MkAbs(args[0]), "addresses.json")
	if !retry(func() bool {
		found, _ := filepath.Glob(pattern)
		if len(found) != 1 {
			return false
		}
		raw, err := os.ReadFile(found[0])
		return err == nil && json.Unmarshal(raw, &a) == nil
	}) {
		ts.Fatalf("no server in %s", args[0])
	}
	ts.Setenv("HTTP", a.HTTP)
	ts.Setenv("OPS", a.Ops)
	_, sip, _ := strings.Cut(a.SIP[0], "://")
	ts.Setenv("SIP", sip)
}

// setmatch VARIABLE REGEXP sets a variable to the first group of a match in the
// last output.
func setMatch(ts *testscript.TestScript, _ bool, args []string) {
	found := regexp.MustCompile(args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(found) < 2 {
		ts.Fatalf("%q does not match", args[1])
	}
	ts.Setenv(args[0], found[1])
}

// filemode MODE FILE compares permissions.
func fileMode(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[0] {
		ts.Fatalf("%s has mode %s, want %s", args[1], got, args[0])
	}
}

// carrier VARIABLE [FILE] starts a phone that answers every call but those for a number
// that ends in 486, and sets the variable to its address. It hangs up on a number that
// ends in 487 once a digit has come, and gives one that ends in 488 no telephone-event.
// What each call pressed is added to the file, see pressed.
func carrier(ts *testscript.TestScript, _ bool, args []string) {
	made := make(chan struct{})
	var writing sync.Mutex
	p, err := phone.New(phone.Options{IP: netip.MustParseAddr("127.0.0.1"), OnCall: func(c *phone.Call) {
		<-made
		reply := phone.Reply{Audio: phone.Sine(660, 8000)}
		switch user := c.Seen().RequestUser; { // whatever fails here the script sees at the other end
		case strings.HasSuffix(user, "486"):
			_ = c.Reject(486, "")
			return
		case strings.HasSuffix(user, "487"):
			_ = c.Answer(reply)
			_ = c.HearsDigits(context.Background(), 1)
			_ = c.Hangup(context.Background())
		case strings.HasSuffix(user, "488"):
			reply.Codecs = []string{"PCMA"}
			fallthrough
		default:
			_ = c.Answer(reply)
		}
		<-c.Done()
		if len(args) > 1 {
			writing.Lock()
			defer writing.Unlock()
			_ = appendTo(ts.MkAbs(args[1]), pressed(c))
		}
	}})
	close(made)
	ts.Check(err)
	ts.Defer(func() { ts.Check(p.Close()) })
	ts.Setenv(args[0], p.Addr().String())
}

// pressed tells what a call pressed and said: digits, tones of digits, silence for half a
// second at first, and the tone of tandem call at last.
func pressed(c *phone.Call) string {
	heard := c.Heard()
	half := min(len(heard), phone.Rate/2)
	quiet := !slices.ContainsFunc(heard[:half], func(s int16) bool { return s < -50 || s > 50 })
	speaks := phone.Tone(heard[len(heard)-half:], 440) > 0.9
	return fmt.Sprintf("digits=%s tones=%s quiet=%v speaks=%v\n", c.Digits(), tonesIn(heard), quiet, speaks)
}

// tonesIn reads digits of 100 ms that begin with a packet.
func tonesIn(pcm []int16) (digits string) {
	for ; len(pcm) >= 800; pcm = pcm[160:] {
		for i, low := range []float64{697, 770, 852, 941} {
			for j, high := range []float64{1209, 1336, 1477} {
				l, h := phone.Tone(pcm[:800], low), phone.Tone(pcm[:800], high)
				if l > 0.4 && h > 0.4 && l+h > 0.95 {
					digits += string("123456789*0#"[3*i+j])
				}
			}
		}
	}
	return digits
}

func appendTo(name, line string) error {
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(line)
	return errors.Join(err, f.Close())
}

// stopped CODE COMMAND… runs a command that must end with this exit code:
// testscript itself only tells success from failure.
func stopped(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	var exit interface{ ExitCode() int }
	code := 0
	if err != nil {
		var ok bool
		if exit, ok = err.(interface{ ExitCode() int }); !ok {
			ts.Fatalf("cannot run: %v", err)
		}
		code = exit.ExitCode()
	}
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}
