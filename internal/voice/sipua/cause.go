package sipua

import (
	"strconv"

	"tandem/internal/masking"
	"tandem/internal/voice/b2bua"
)

// This file is the one mapping between the words of masking and SIP statuses.

func itoa(n int) string { return strconv.Itoa(n) }

// statusFor is what a caller hears when his call ends before it is answered.
// A stranger, an expired allocation and the wrong
// direction look alike, so that a prober learns nothing.
func statusFor(r b2bua.Reason) int {
	if r.Cause == masking.CauseRejected {
		switch r.Refusal {
		case masking.RefusedUnknownNumber:
			return 404
		case masking.RefusedWithheld:
			return 433
		case masking.RefusedCallerBusy:
			return 486
		case masking.RefusedCallerRate, masking.RefusedAllocationLimit, masking.RefusedTenantLimit,
			masking.RefusedDayCalls, masking.RefusedDayTalk, masking.RefusedVelocity:
			return 480
		case masking.RefusedLoop:
			return 482
		case masking.RefusedUnavailable:
			return 503
		}
		return 403
	}
	switch r.Cause {
	case masking.CauseCallerCancelled:
		return 487
	case masking.CauseBusy:
		return 486
	case masking.CauseDeclined:
		return 603
	case masking.CauseNoMedia:
		return 488
	case masking.CauseShutdown:
		return 503
	}
	return 480
}

// causeOf tells what a callee's final status means. retry says that another
// trunk may do better; whether it rang is the call's to know.
func causeOf(status int, rang bool) (cause masking.Cause, retry bool) {
	switch status {
	case 486, 600:
		return masking.CauseBusy, false
	case 603, 403, 433, 607, 608:
		return masking.CauseDeclined, false
	case 408:
		if rang {
			return masking.CauseNoAnswer, false
		}
		return masking.CauseFailed, true
	case 480:
		if rang {
			return masking.CauseNoAnswer, false
		}
		return masking.CauseUnreachable, false
	case 488, 606:
		return masking.CauseNoMedia, false
	case 501, 505:
		return masking.CauseFailed, false
	}
	switch {
	case status >= 500 && status < 600:
		return masking.CauseFailed, true
	case status >= 300 && status < 400, status >= 600, status == 404, status == 410, status == 482, status == 483, status == 484:
		return masking.CauseUnreachable, false // a redirection is not obeyed
	}
	return masking.CauseFailed, false
}
