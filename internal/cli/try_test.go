package cli_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"tandem/internal/cli"
)

// run runs one command in this process.
func run(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = cli.Run(ctx, cli.Process{Name: "tandem", Args: args, Version: "test", In: strings.NewReader(""), Out: &out, Err: &errs})
	return code, out.String(), errs.String()
}

// A runningDemo is a demo whose output can be waited for.
type runningDemo struct {
	lines chan string
	said  []string
	code  chan int
	stop  context.CancelFunc
}

func startDemo(t *testing.T) *runningDemo {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	d := &runningDemo{lines: make(chan string, 1000), code: make(chan int, 1), stop: cancel}
	r, w := io.Pipe()
	go func() {
		var errs bytes.Buffer
		code := cli.Run(ctx, cli.Process{Name: "tandem", Args: []string{"demo"}, Version: "test", In: strings.NewReader(""), Out: w, Err: &errs})
		_ = w.Close()
		d.code <- code
	}()
	go func() {
		defer close(d.lines)
		for s := bufio.NewScanner(r); s.Scan(); {
			d.lines <- s.Text()
		}
	}()
	return d
}

// until waits for a line that matches and gives its first group.
func (d *runningDemo) until(t *testing.T, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for line := range d.lines {
		d.said = append(d.said, line)
		if m := re.FindStringSubmatch(line); m != nil {
			return m[1]
		}
	}
	t.Fatalf("the demo ended without %q:\n%s", pattern, strings.Join(d.said, "\n"))
	return ""
}

func TestWhatTheDemoSuggestsWorksAndInterruptingItLeavesNothing(t *testing.T) {
	d := startDemo(t)
	defer d.stop()
	docs := d.until(t, `the API, to read: +(\S+)$`)
	call := d.until(t, `call as A: +tandem (.*)$`)
	pin := d.until(t, `with the PIN, from any phone: tandem (.*)$`)
	list := d.until(t, `the calls so far: +tandem (.*)$`)
	curl := d.until(t, `^ +(curl .*)\\$`) + d.until(t, `^ +(.*)\\$`) + d.until(t, `^ +(-d .*)$`)
	second := d.until(t, `then call through it: tandem (.*)$`)

	res, err := http.Get(docs)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v, %v", docs, res, err)
	}
	_ = res.Body.Close()

	heard := regexp.MustCompile(`heard [12]\.\d s, level -1\d\.\d dBFS`)
	code, out, errs := run(t.Context(), append(strings.Fields(call), "--seconds", "2")...)
	if code != 0 || !heard.MatchString(out) {
		t.Errorf("%s: exit code %d\n%s%s", call, code, out, errs)
	}
	d.until(t, `(took a call; it saw caller ID \+914000000001 and heard [12]\.\d s)`)

	code, out, errs = run(t.Context(), append(strings.Fields(pin), "--seconds", "4")...)
	if code != 0 || !strings.Contains(out, "answered") {
		t.Errorf("%s: exit code %d\n%s%s", pin, code, out, errs)
	}
	d.until(t, `(took a call; it saw caller ID \+914000000003 and heard \d\.\d s)`)

	created, err := exec.CommandContext(t.Context(), "sh", "-c", strings.Replace(curl, "curl", "curl -sS", 1)).CombinedOutput()
	if err != nil || !bytes.Contains(created, []byte(`"status":"active"`)) {
		t.Errorf("%s: %v: %s", curl, err, created)
	}
	code, out, errs = run(t.Context(), append(strings.Fields(second), "--seconds", "1")...)
	if code != 0 || !strings.Contains(out, "answered") {
		t.Errorf("%s: exit code %d\n%s%s", second, code, out, errs)
	}
	code, out, errs = run(t.Context(), strings.Fields(list)...)
	if code != 0 || strings.Count(out, "\ncall_") != 6 {
		t.Errorf("%s: exit code %d, want 6 calls\n%s%s", list, code, out, errs)
	}

	d.stop()
	d.until(t, `^(Ended; the temporary folder is removed.)$`)
	if code := <-d.code; code != 0 {
		t.Errorf("exit code %d", code)
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestADemoThatIsInterruptedInItsMiddleFailsAndLeavesNothing(t *testing.T) {
	d := startDemo(t)
	defer d.stop()
	d.until(t, `(A calls the virtual number)`)
	d.stop()
	for range d.lines { // to the end
	}
	if code := <-d.code; code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
