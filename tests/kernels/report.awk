# Reads what libtest printed, adds up, and shows what failed. Also used by `make test`.
# In:  output of cargo test, or of guest/run (which frames each binary with @@RUN name / @@END name status seconds).
# Out: `312 passed, 3 skipped` on the last line, before it the failures in full and each distinct reason of a skip;
#      status 1 if anything failed, or if nothing ran.
# A skip is a line that a test writes straight to stderr, past libtest's capture: `SKIP test_name: reason` (tests/common/skip.rs).
# libtest counts such a test as passed; here it is not.

{ sub(/\r$/, "") }

/^@@RUN / { framed = 1; name = $2; text = ""; done = 0; before = failed; next }

/^@@END / {
    if ($3 != 0 || !done) {
        why = $3 == 137 ? "did not end in time" : (done ? "failed" : "ended without a result, status " $3)
        printf "---- %s: %s\n%s", name, why, text
        # What others print at the same time can tear the line with the counts: the status is what counts.
        if (!done || failed == before) broken++
    }
    name = ""
    next
}

{ if (name != "") text = text $0 "\n" }

/^running [0-9]+ tests?/ { programs++ }

/(^| )SKIP [^ ]+: / {
    reason = substr($0, index($0, "SKIP ") + 5)
    # A test may leave out several parts of itself: it is one test all the same.
    test = programs " " substr(reason, 1, index(reason, ": "))
    if (!(test in skips)) skipped++
    skips[test]
    sub(/^[^ ]+: /, "", reason)
    if (!(reason in reasons)) order[++distinct] = reason
    reasons[reason]++
}

/^test result: / {
    done = 1
    for (i = 3; i <= NF; i++) {
        if ($i ~ /^passed/) passed += $(i - 1)
        if ($i ~ /^failed/) failed += $(i - 1)
        if ($i ~ /^ignored/) ignored += $(i - 1)
    }
}

END {
    if (name != "") { printf "---- %s: never ended\n%s", name, text; broken++ }
    for (i = 1; i <= distinct; i++) printf "     skipped %d: %s\n", reasons[order[i]], order[i]
    printf "%d passed", passed - skipped
    if (failed) printf ", %d failed", failed
    if (broken) printf ", %d test programs failed", broken
    if (skipped) printf ", %d skipped", skipped
    if (ignored) printf ", %d ignored", ignored
    printf "\n"
    exit failed || broken || passed - skipped <= 0
}
