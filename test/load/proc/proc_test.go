package proc

import (
	"os"
	"os/exec"
	"testing"
)

func TestWorkIsCountedForItsProcessAndForTheMachine(t *testing.T) {
	pid := os.Getpid()
	before, err := CPU(pid)
	if err != nil {
		t.Fatal(err)
	}
	for after := before; after == before; { // until a hundredth of a second is used
		if after, err = CPU(pid); err != nil {
			t.Fatal(err)
		}
	}
	if busy, err := Busy(0); err != nil || busy <= 0 {
		t.Errorf("CPU 0 was busy for %v, %v", busy, err)
	}
	if rss, err := Resident(pid); err != nil || rss < 1<<20 {
		t.Errorf("%d bytes resident, %v", rss, err)
	}
}

func TestWhatIsNotThereIsAnError(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	gone := cmd.Process.Pid
	if _, err := CPU(gone); err == nil {
		t.Error("a process that has ended has CPU time")
	}
	if _, err := Resident(gone); err == nil {
		t.Error("a process that has ended has memory")
	}
	if _, err := Busy(1 << 20); err == nil {
		t.Error("there are a million CPUs")
	}
}
