# Answers requests with libsolv, for oracle_test.go: reads a primary.xml named on
# the command line and lines "rec|norec TOKEN..." on standard input.
import sys
import solv

pool = solv.Pool()
pool.setdisttype(solv.Pool.DISTTYPE_RPM)
pool.setarch('x86_64')
# rpm installs two packages of one name side by side when their colors differ.
pool.set_flag(solv.Pool.POOL_FLAG_IMPLICITOBSOLETEUSESCOLORS, 1)
repo = pool.add_repo('r')
repo.add_rpmmd(solv.xfopen(sys.argv[1]), None, 0)
pool.addfileprovides()
pool.createwhatprovides()
for line in sys.stdin:
    words = line.split()
    jobs = []
    for name in words[1:]:
        sel = pool.select(name, solv.Selection.SELECTION_NAME)
        jobs += sel.jobs(solv.Job.SOLVER_INSTALL)
    solver = pool.Solver()
    solver.set_flag(solv.Solver.SOLVER_FLAG_IGNORE_RECOMMENDED, 0 if words[0] == 'rec' else 1)
    problems = solver.solve(jobs)
    if problems:
        print('PROBLEM', '; '.join(str(p) for p in problems))
    else:
        print('OK', ' '.join(sorted(str(p) for p in solver.transaction().newpackages())))
