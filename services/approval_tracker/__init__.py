"""Opens approvals, expires them, and carries out what an outcome entails."""
