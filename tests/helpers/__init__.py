"""What several test files share: small nets, every builder's smallest member, random weights, toy notebooks."""
